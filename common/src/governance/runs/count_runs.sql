create function count_runs(
    p_site bigint,
    p_began timestamptz,
    p_ended timestamptz,
    p_apps text[],
    p_statuses text[],
    p_triggers text[],
    p_most bigint
) returns bigint language plpgsql stable
set enable_sort = off set enable_seqscan = off set enable_bitmapscan = off set jit = off set plan_cache_mode = force_generic_plan as $$
begin
    if p_apps is null then
        return (select count(*) from (
            select from biz.sites s, lateral (
                select from biz.ai_run_logs r
                where r.site_id = s.id and r.created_at >= p_began and r.created_at < p_ended
                limit p_most
            ) r
            where p_site is null or s.id = p_site
            limit p_most
        ) few);
    end if;
    return (select count(*) from (
        select from biz.sites s, unnest(p_apps) a (app), unnest(p_statuses) t (status), unnest(p_triggers) v (via), lateral (
            select from biz.ai_run_logs r
            where r.site_id = s.id and r.app_type = a.app and r.status = t.status and r.trigger_type = v.via
              and r.created_at >= p_began and r.created_at < p_ended
            limit p_most
        ) r
        where p_site is null or s.id = p_site
        limit p_most
    ) few);
end $$;

comment on function count_runs is 'Number of matching runs, counted up to p_most';
