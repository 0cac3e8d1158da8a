-- What the dashboard reads, and what admins set: budgets and runtime contexts.

create type biz.budget_state as (
    daily_used bigint,
    daily_limit bigint,
    monthly_used bigint,
    monthly_limit bigint,
    updated_by bigint,
    updated_at timestamptz
);
comment on type biz.budget_state is
    'What is used, runs under way included, and what may be; who set the limits last. Nulls where there is no such site';

create function biz.budget_of(p_site bigint) returns biz.budget_state language sql stable as $$
    with today (day) as (
        select biz.local_day(biz.zone_of(p_site))
    ), used as (
        select coalesce(sum(u.tokens + u.reserved_tokens) filter (where u.day = today.day), 0)::bigint as daily,
               coalesce(sum(u.tokens + u.reserved_tokens), 0)::bigint as monthly
        from today
        join biz.sites s on p_site is null or s.id = p_site
        join biz.ai_usage_daily u on u.site_id = s.id and u.day between date_trunc('month', today.day)::date and today.day
    ), limits as (
        select sum(b.daily_limit)::bigint as daily, sum(b.monthly_limit)::bigint as monthly,
               case when p_site is not null then max(b.updated_by) end as updated_by,
               case when p_site is not null then max(b.updated_at) filter (where b.site_id is not null) end as updated_at
        from biz.sites s
        cross join lateral (
            select * from biz.ai_budgets b where b.site_id = s.id or b.site_id is null order by b.site_id nulls last limit 1
        ) b
        where p_site is null or s.id = p_site
    )
    select used.daily, limits.daily, used.monthly, limits.monthly, limits.updated_by, limits.updated_at from used, limits
$$;
comment on function biz.budget_of is 'The budget of a site today; of all sites together (null), by the day of Shanghai';

create function biz.tokens_left(p_site bigint) returns bigint language sql stable as $$
    select greatest(0, least(b.daily_limit - b.daily_used, b.monthly_limit - b.monthly_used)) from biz.budget_of(p_site) b
$$;
comment on function biz.tokens_left is 'What is left of a site''s budget now: of the day or of the month, whichever is less';

create function biz.set_budget(p_site bigint, p_user bigint, p_daily bigint, p_monthly bigint) returns biz.budget_state
language plpgsql as $$
declare
    v_before biz.budget_state;
begin
    -- As whoever reserves tokens does.
    perform from biz.sites where id = p_site for no key update;
    v_before := biz.budget_of(p_site);
    if v_before.daily_limit is null then return v_before; end if;
    insert into biz.ai_budgets (site_id, daily_limit, monthly_limit, updated_by, updated_at)
    values (p_site, p_daily, p_monthly, p_user, clock_timestamp())
    on conflict on constraint ai_budgets_site_id_key do update set
        daily_limit = excluded.daily_limit, monthly_limit = excluded.monthly_limit,
        updated_by = excluded.updated_by, updated_at = excluded.updated_at;
    perform biz.audit(p_site, p_user, 'budget.set', null, jsonb_build_object(
        'before', jsonb_build_object('daily_limit', v_before.daily_limit, 'monthly_limit', v_before.monthly_limit),
        'after', jsonb_build_object('daily_limit', p_daily, 'monthly_limit', p_monthly)));
    return biz.budget_of(p_site);
end $$;
comment on function biz.set_budget is 'Sets the limits of a site; nulls where there is none';

create function biz.set_runtime_context(p_site bigint, p_user bigint, p_mode text, p_sandbox_date date) returns biz.sites
language plpgsql as $$
declare
    v_before biz.sites;
    s biz.sites;
begin
    select * into v_before from biz.sites where id = p_site for no key update;
    if not found then return v_before; end if;
    update biz.sites set
        runtime_mode = p_mode, sandbox_date = p_sandbox_date, runtime_updated_by = p_user, runtime_updated_at = clock_timestamp()
    where id = p_site returning * into s;
    perform biz.audit(p_site, p_user, 'runtime_context.set', null, jsonb_build_object(
        'before', jsonb_build_object('mode', v_before.runtime_mode, 'sandbox_date', v_before.sandbox_date),
        'after', jsonb_build_object('mode', s.runtime_mode, 'sandbox_date', s.sandbox_date)));
    return s;
end $$;
comment on function biz.set_runtime_context is 'Sets the clock of a site; nulls where there is none';

create function biz.add_up(a bigint[], b bigint[]) returns bigint[] language sql immutable strict as $$
    select array_agg(x.a + x.b order by x.place) from unnest(a, b) with ordinality as x (a, b, place)
$$;
comment on function biz.add_up(bigint[], bigint[]) is 'Two histograms as one';
create aggregate biz.add_up(bigint[]) (sfunc = biz.add_up, stype = bigint[]);
comment on aggregate biz.add_up(bigint[]) is 'Histograms as one';
