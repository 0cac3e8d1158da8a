create type found_run as (
    site_id bigint,
    created_at timestamptz,
    id bigint,
    is_end boolean
);

comment on type found_run is
    'Finds a run in its partition by one index lookup. is_end: not a result; the search ended after '
    'this run without a full page, and may continue there';

create function find_runs(
    p_site bigint,
    p_began timestamptz,
    p_ended timestamptz,
    f run_filters,
    p_before timestamptz,
    p_before_id bigint,
    p_most bigint,
    p_skip bigint,
    p_read bigint
) returns setof found_run language plpgsql stable
set enable_sort = off set enable_seqscan = off set enable_bitmapscan = off set jit = off set plan_cache_mode = force_generic_plan as $$
declare
    v_wanted bigint := p_skip + p_most;
    v_nearest timestamptz;
    v_sites bigint;
    v_each bigint;
begin
    if p_ended < p_before then
        p_before := p_ended;
        p_before_id := 0;
    end if;
    if has_only_words(f) and word_filters(f) = 0 then
        return query
        select r.*, false from biz.sites s, lateral (
            select r.site_id, r.created_at, r.id from biz.ai_run_logs r
            where r.site_id = s.id and r.created_at between p_began and p_before
              and (r.created_at, r.id) < (p_before, p_before_id)
            order by r.created_at desc, r.id desc limit v_wanted
        ) r
        where p_site is null or s.id = p_site
        order by r.created_at desc, r.id desc limit p_most offset p_skip;
        return;
    end if;
    select count(*) into v_sites from biz.sites s where p_site is null or s.id = p_site;
    if has_only_words(f) then
        -- Each combination of site, app, status and trigger would read v_wanted rows, which is slow
        -- for a late page. So first find how far back to read: take a few times the average share
        -- of each combination until v_wanted rows are found. Their oldest time is the lower bound.
        v_each := 2 * v_wanted / (v_sites * cardinality(f.apps) * cardinality(f.statuses) * cardinality(f.triggers) + 1) + 1;
        while v_wanted >= 1000 and v_each < v_wanted and v_nearest is null loop
            select r.created_at into v_nearest
            from biz.sites s, unnest(f.apps) a (app), unnest(f.statuses) t (status), unnest(f.triggers) v (via), lateral (
                select r.created_at from biz.ai_run_logs r
                where r.site_id = s.id and r.app_type = a.app and r.status = t.status and r.trigger_type = v.via
                  and r.created_at between p_began and p_before
                  and (r.created_at, r.id) < (p_before, p_before_id)
                order by r.created_at desc, r.id desc limit v_each
            ) r
            where p_site is null or s.id = p_site
            order by r.created_at desc limit 1 offset v_wanted - 1;
            v_each := 4 * v_each;
        end loop;
        p_began := greatest(p_began, v_nearest);
        return query
        select r.*, false from biz.sites s, unnest(f.apps) a (app), unnest(f.statuses) t (status), unnest(f.triggers) v (via), lateral (
            select r.site_id, r.created_at, r.id from biz.ai_run_logs r
            where r.site_id = s.id and r.app_type = a.app and r.status = t.status and r.trigger_type = v.via
              and r.created_at between p_began and p_before
              and (r.created_at, r.id) < (p_before, p_before_id)
            order by r.created_at desc, r.id desc limit v_wanted
        ) r
        where p_site is null or s.id = p_site
        order by r.created_at desc, r.id desc limit p_most offset p_skip;
    else
        -- If each run of the index matches, v_wanted of them are enough. Otherwise each site reads
        -- its share of p_read. Sites have runs at different rates, so the list is complete only
        -- down to the newest of the runs at which a site stopped reading.
        v_each := case when is_in_index(f) then v_wanted else p_read / greatest(v_sites, 1) + 1 end;
        return query
        with walked as materialized (
            select s.id as site_id, r.* from biz.sites s, lateral walk_runs(
                s.id, p_began, f, p_before, p_before_id, v_each
            ) with ordinality r (created_at, id, is_match, place)
            where p_site is null or s.id = p_site
        ), stop as (
            select w.site_id, w.created_at, w.id from walked w
            where w.place = v_each and not is_in_index(f)
            order by w.created_at desc, w.id desc limit 1
        ), page as (
            select w.site_id, w.created_at, w.id, false from walked w
            where w.is_match
              and (w.created_at, w.id) >= all (select t.created_at, t.id from stop t)
            order by w.created_at desc, w.id desc limit p_most offset p_skip
        )
        select * from page
        union all
        select t.*, true from stop t where (select count(*) from page) < p_most;
    end if;
end $$;

comment on function find_runs is
    'The newest runs of one site or of all sites, by any filters. Reads a bounded number of runs, at '
    'most p_read if no index has all filters';
