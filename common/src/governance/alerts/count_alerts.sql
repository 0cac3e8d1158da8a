create function count_alerts(
    p_site bigint,
    p_began timestamptz,
    p_ended timestamptz,
    p_apps text[],
    p_alert_statuses text[],
    p_most bigint
) returns bigint language plpgsql stable
set enable_sort = off set enable_seqscan = off set enable_bitmapscan = off set jit = off set plan_cache_mode = force_generic_plan as $$
begin
    return (select count(*) from (
        select from biz.sites s, unnest(p_apps) a (app), unnest(p_alert_statuses) t (alert_status), lateral (
            select from biz.ai_run_logs r
            where r.site_id = s.id and r.app_type = a.app and r.alert_status = t.alert_status
              and r.created_at >= p_began and r.created_at < p_ended
            limit p_most
        ) r
        where p_site is null or s.id = p_site
        limit p_most
    ) few);
end $$;

comment on function count_alerts is 'Number of matching alerts, counted up to p_most';
