create type run_key as (
    site_id bigint,
    created_at timestamptz,
    id bigint
);

comment on type run_key is 'Finds a run in its partition by one index lookup';

-- Pass all three lists or none. A list has either the one word to filter by, or all words.
create function find_runs(
    p_site bigint,
    p_began timestamptz,
    p_ended timestamptz,
    p_apps text[],
    p_statuses text[],
    p_triggers text[],
    p_before timestamptz,
    p_before_id bigint,
    p_most bigint,
    p_skip bigint
) returns setof run_key language plpgsql stable
set enable_sort = off set enable_seqscan = off set enable_bitmapscan = off set jit = off set plan_cache_mode = force_generic_plan as $$
declare
    v_wanted bigint := p_skip + p_most;
    v_nearest timestamptz;
    v_each bigint;
begin
    if p_apps is null then
        return query
        select r.* from biz.sites s, lateral (
            select r.site_id, r.created_at, r.id from biz.ai_run_logs r
            where r.site_id = s.id and r.created_at >= p_began and r.created_at < p_ended
              and (r.created_at, r.id) < (p_before, p_before_id)
            order by r.created_at desc, r.id desc limit v_wanted
        ) r
        where p_site is null or s.id = p_site
        order by r.created_at desc, r.id desc limit p_most offset p_skip;
    else
        -- Each combination of site, app, status and trigger would read v_wanted rows, which is slow
        -- for a late page. So first find how far back to read: take a few times the average share
        -- of each combination until v_wanted rows are found. Their oldest time is the lower bound.
        v_each := 2 * v_wanted / ((select count(*) from biz.sites s where p_site is null or s.id = p_site)
                                  * cardinality(p_apps) * cardinality(p_statuses) * cardinality(p_triggers) + 1) + 1;
        while v_wanted >= 1000 and v_each < v_wanted and v_nearest is null loop
            select r.created_at into v_nearest
            from biz.sites s, unnest(p_apps) a (app), unnest(p_statuses) t (status), unnest(p_triggers) v (via), lateral (
                select r.created_at from biz.ai_run_logs r
                where r.site_id = s.id and r.app_type = a.app and r.status = t.status and r.trigger_type = v.via
                  and r.created_at >= p_began and r.created_at < p_ended
                  and (r.created_at, r.id) < (p_before, p_before_id)
                order by r.created_at desc, r.id desc limit v_each
            ) r
            where p_site is null or s.id = p_site
            order by r.created_at desc limit 1 offset v_wanted - 1;
            v_each := 4 * v_each;
        end loop;
        p_began := greatest(p_began, v_nearest);
        return query
        select r.* from biz.sites s, unnest(p_apps) a (app), unnest(p_statuses) t (status), unnest(p_triggers) v (via), lateral (
            select r.site_id, r.created_at, r.id from biz.ai_run_logs r
            where r.site_id = s.id and r.app_type = a.app and r.status = t.status and r.trigger_type = v.via
              and r.created_at >= p_began and r.created_at < p_ended
              and (r.created_at, r.id) < (p_before, p_before_id)
            order by r.created_at desc, r.id desc limit v_wanted
        ) r
        where p_site is null or s.id = p_site
        order by r.created_at desc, r.id desc limit p_most offset p_skip;
    end if;
end $$;

comment on function find_runs is 'The newest runs of one site or of all sites, by any filters. The cost does not depend on how many runs match';
