create type run_key as (
    site_id bigint,
    created_at timestamptz,
    id bigint
);

comment on type run_key is 'Finds a run in its partition by one index lookup';

create function find_alerts(
    p_site bigint,
    p_began timestamptz,
    p_ended timestamptz,
    p_apps text[],
    p_alert_statuses text[],
    p_before timestamptz,
    p_before_id bigint,
    p_most bigint,
    p_skip bigint
) returns setof run_key language plpgsql stable
set enable_sort = off set enable_seqscan = off set enable_bitmapscan = off set jit = off set plan_cache_mode = force_generic_plan as $$
begin
    -- With two upper bounds, the index would be read from the newer one.
    if p_ended < p_before then
        p_before := p_ended;
        p_before_id := 0;
    end if;
    return query
    select r.* from biz.sites s, unnest(p_apps) a (app), unnest(p_alert_statuses) t (alert_status), lateral (
        select r.site_id, r.created_at, r.id from biz.ai_run_logs r
        where r.site_id = s.id and r.app_type = a.app and r.alert_status = t.alert_status
          and r.created_at between p_began and p_before
          and (r.created_at, r.id) < (p_before, p_before_id)
        order by r.created_at desc, r.id desc limit p_most + p_skip
    ) r
    where p_site is null or s.id = p_site
    order by r.created_at desc, r.id desc limit p_most offset p_skip;
end $$;

comment on function find_alerts is 'The newest alerts of one site or of all sites';
