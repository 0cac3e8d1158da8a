create type alert_interval as (
    site_id bigint,
    app_type text,
    alert_status text,
    status text,
    error_code text,
    place integer,
    occurrences bigint
);

comment on type alert_interval is 'Alerts of one cause in one interval of time. place is from 1';

create function alerts_over_time(
    p_sites bigint[],
    p_apps text[],
    p_alert_statuses text[],
    p_began timestamptz,
    p_ended timestamptz,
    p_intervals integer,
    p_most_each bigint
) returns setof alert_interval language plpgsql stable
set enable_seqscan = off set enable_bitmapscan = off set jit = off set plan_cache_mode = force_generic_plan as $$
begin
    return query
    select k.site_id, k.app, k.alert_status, r.status::text, r.error_code, r.place, count(*)
    from (
        select distinct u.site_id, u.app, u.alert_status
        from unnest(p_sites, p_apps, p_alert_statuses) u (site_id, app, alert_status)
    ) k, lateral (
        select r.status, r.error_code,
               least(p_intervals, 1 + floor(p_intervals * extract(epoch from r.created_at - p_began)
                                            / extract(epoch from p_ended - p_began)))::integer as place
        from biz.ai_run_logs r
        where r.site_id = k.site_id and r.app_type = k.app and r.alert_status = k.alert_status
          and r.created_at >= p_began and r.created_at < p_ended
        order by r.created_at desc, r.id desc limit p_most_each
    ) r
    group by k.site_id, k.app, k.alert_status, r.status, r.error_code, r.place;
end $$;

comment on function alerts_over_time is
    'Counts alerts by cause in intervals of equal length. The three arrays are parallel. Reads the newest p_most_each alerts per site, app and alert status';
