create type alert_cause as (
    site_id bigint,
    last_at timestamptz,
    id bigint,
    first_at timestamptz,
    occurrences bigint,
    is_cut boolean
);

comment on type alert_cause is
    'Alerts of one cause: the newest run, the time of the oldest and the count. is_cut: older alerts of the app were not read';

create function group_alerts(
    p_site bigint,
    p_began timestamptz,
    p_ended timestamptz,
    p_apps text[],
    p_alert_statuses text[],
    p_most_each bigint
) returns setof alert_cause language plpgsql stable
set enable_seqscan = off set enable_bitmapscan = off set jit = off set plan_cache_mode = force_generic_plan as $$
begin
    return query
    select s.id, c.last_at, c.id, c.first_at, c.occurrences, c.is_cut
    from biz.sites s, unnest(p_apps) a (app), unnest(p_alert_statuses) t (alert_status), lateral (
        select max(r.created_at) as last_at, (array_agg(r.id order by r.created_at desc, r.id desc))[1] as id,
               min(r.created_at) as first_at, count(*) as occurrences, sum(count(*)) over () >= p_most_each as is_cut
        from (
            select r.status, r.error_code, r.created_at, r.id from biz.ai_run_logs r
            where r.site_id = s.id and r.app_type = a.app and r.alert_status = t.alert_status
              and r.created_at >= p_began and r.created_at < p_ended
            order by r.created_at desc, r.id desc limit p_most_each
        ) r
        group by r.status, r.error_code
    ) c
    where p_site is null or s.id = p_site;
end $$;

comment on function group_alerts is
    'Groups alerts by site, app, alert status, status and error code. Reads the newest p_most_each alerts per site, app and alert status';
