create function set_budget(p_site bigint, p_user bigint, p_daily bigint, p_monthly bigint) returns budget_state
language plpgsql as $$
declare
    v_before budget_state;
begin
    -- As whoever reserves tokens does.
    perform from biz.sites where id = p_site for no key update;
    v_before := budget_of(p_site);
    if v_before.daily_limit is null then return v_before; end if;
    insert into biz.ai_budgets (site_id, daily_limit, monthly_limit, updated_by, updated_at)
    values (p_site, p_daily, p_monthly, p_user, clock_timestamp())
    on conflict on constraint ai_budgets_site_id_key do update set
        daily_limit = excluded.daily_limit, monthly_limit = excluded.monthly_limit,
        updated_by = excluded.updated_by, updated_at = excluded.updated_at;
    perform audit(p_site, p_user, 'budget.set', null, jsonb_build_object(
        'before', jsonb_build_object('daily_limit', v_before.daily_limit, 'monthly_limit', v_before.monthly_limit),
        'after', jsonb_build_object('daily_limit', p_daily, 'monthly_limit', p_monthly)));
    return budget_of(p_site);
end $$;

comment on function set_budget is 'Sets the limits of a site; nulls where there is none';
