create function estimate_batch(p_site bigint, p_user bigint, p_apps text[], p_members bigint[]) returns estimated_batch
language plpgsql as $$
declare
    r estimated_batch;
    v_today date;
begin
    select local_day(s.timezone, clock_timestamp()) into v_today from biz.sites s where s.id = p_site;
    if not found then r.outcome := 'not_found'; return r; end if;
    -- It may be a view of the operator's, so nothing is known of its keys.
    if (select count(distinct p.member_id) from dws.member_profile p where p.site_id = p_site and p.member_id = any (p_members))
       < cardinality(p_members)
    then
        r.outcome := 'unknown_members';
        return r;
    end if;

    r.estimated_calls := cardinality(p_apps) * cardinality(p_members);
    select sum(ceil(cardinality(p_members) * coalesce(recent.average, 2000)))::bigint into r.estimated_tokens
    from unnest(p_apps) app (name) cross join lateral (
        select nullif(sum(u.tokens), 0) / nullif(sum(u.successes), 0) as average from biz.ai_usage_daily u
        where u.site_id = p_site and u.app_type = app.name and u.day > v_today - 30 and u.day <= v_today
    ) recent;
    r.budget_left := tokens_left(p_site);
    insert into biz.ai_batches (site_id, app_types, member_ids, estimated_calls, estimated_tokens, expires_at, created_by)
    values (p_site, p_apps, p_members, r.estimated_calls, r.estimated_tokens, clock_timestamp() + interval '10 minutes', p_user)
    returning id, expires_at into r.batch_id, r.expires_at;
    perform audit(p_site, p_user, 'batch.estimate', r.batch_id::text, jsonb_build_object(
        'app_types', p_apps, 'members', cardinality(p_members), 'estimated_tokens', r.estimated_tokens));
    r.outcome := 'estimated';
    return r;
end $$;

comment on function estimate_batch is 'Remembers for ten minutes what was asked for, and what it would cost';
