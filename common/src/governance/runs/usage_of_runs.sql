create function usage_of_runs(p_site bigint, p_days daterange, f run_filters)
returns bigint language plpgsql stable
set enable_sort = off set enable_seqscan = off set enable_bitmapscan = off set jit = off set plan_cache_mode = force_generic_plan as $$
declare
    v_first date := coalesce(lower(p_days), '-infinity');
    v_end date := coalesce(upper(p_days), 'infinity');
    v_of_apps boolean := has_only_words(f);
begin
    if p_days is null or cardinality(f.triggers) = 1
        or cardinality(f.statuses) = 1 and f.statuses <> '{success}'
        or not v_of_apps and word_filters(f) > 0
        or num_nonnulls(f.member_id, f.error_code, f.prompt_version, f.min_latency_ms) > 0
    then
        return null;
    end if;
    -- The counters are kept longer than the runs.
    v_first := greatest(v_first, (
        select min(r.local_day) from biz.sites s, lateral (
            select r.local_day from biz.ai_run_logs r where r.site_id = s.id
            order by r.created_at, r.id limit 1
        ) r
        where p_site is null or s.id = p_site));
    -- Without a user, there is a row for each user of the site. Too many are not added up.
    return (
        select case when count(*) <= 5000 then sum(u.calls) filter (
            where (f.bot_id is null or u.bot_id = f.bot_id)
              and (f.model_id is null or u.model_id = f.model_id)) end
        from (
            select u.* from biz.sites s, lateral (
                select case cardinality(f.statuses) when 1 then u.successes else u.calls end as calls,
                       null::uuid as bot_id, null as model_id
                from biz.ai_usage_daily u
                where v_of_apps and u.site_id = s.id and u.app_type = any(f.apps)
                  and u.day >= v_first and u.day < v_end
                union all
                select u.calls, u.bot_id, u.model_id from biz.ai_usage_details u
                where not v_of_apps and u.site_id = s.id and u.user_id = f.user_id
                  and u.day >= v_first and u.day < v_end
                union all
                select u.calls, u.bot_id, u.model_id from biz.ai_usage_details u
                where not v_of_apps and f.user_id is null and u.site_id = s.id
                  and u.day >= v_first and u.day < v_end
            ) u
            where p_site is null or s.id = p_site
            limit 5001
        ) u);
end $$;

comment on function usage_of_runs is
    'Number of calls of the days, from usage counters; about as many as runs, because refusals and '
    'running calls are not counted. Null if the counters do not have one of the filters, or are many';
