-- What the lists of runs and alerts read, how they read it, and how an alert is settled.
--
-- These indexes are built under a lock that keeps runs from being written, since none can be built otherwise on all
-- partitions at once. Nothing that has runs has been released yet; whoever has millions of them already builds each
-- partition's index concurrently beforehand, and it is taken over here.

-- Whatever is filtered by, and even if nothing matches: a list takes a few rows of each way to fill in the columns that are not.
create index ai_run_logs_filter_idx on biz.ai_run_logs (site_id, app_type, status, trigger_type, created_at desc, id desc);

-- Alerts of one cause side by side with others of their app, and all that a cause is known by, so that they are grouped without
-- the rows being read.
create index ai_run_logs_causes_idx on biz.ai_run_logs (site_id, app_type, alert_status, created_at desc, id desc)
    include (status, error_code) where alert_status is not null;
drop index biz.ai_run_logs_alerts_idx;

-- The functions below fix how they are planned. What is to be read is a few rows of each of hundreds of places of an index; no estimate
-- of so many conditions is any good, and where one is too low, PostgreSQL would read and sort all rows of a place. Compiling them would
-- take longer than they do.

create type biz.run_key as (
    site_id bigint,
    created_at timestamptz,
    id bigint
);
comment on type biz.run_key is 'By which a run is found in its partition at once';

-- Either all three lists are given, each with one word that is filtered by or with all that there are, or none is.
create function biz.find_runs(
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
) returns setof biz.run_key language plpgsql stable
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
        -- Far down, all that is wanted would be read of each place. A few times its share usually show how far back it is enough to look.
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
comment on function biz.find_runs is 'The newest runs of one site or all, by any filters, at a cost that what matches does not change';

create function biz.count_runs(
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
comment on function biz.count_runs is 'How many runs match, counted up to p_most';

create function biz.find_alerts(
    p_site bigint,
    p_began timestamptz,
    p_ended timestamptz,
    p_apps text[],
    p_alert_statuses text[],
    p_before timestamptz,
    p_before_id bigint,
    p_most bigint,
    p_skip bigint
) returns setof biz.run_key language plpgsql stable
set enable_sort = off set enable_seqscan = off set enable_bitmapscan = off set jit = off set plan_cache_mode = force_generic_plan as $$
begin
    return query
    select r.* from biz.sites s, unnest(p_apps) a (app), unnest(p_alert_statuses) t (alert_status), lateral (
        select r.site_id, r.created_at, r.id from biz.ai_run_logs r
        where r.site_id = s.id and r.app_type = a.app and r.alert_status = t.alert_status
          and r.created_at >= p_began and r.created_at < p_ended
          and (r.created_at, r.id) < (p_before, p_before_id)
        order by r.created_at desc, r.id desc limit p_most + p_skip
    ) r
    where p_site is null or s.id = p_site
    order by r.created_at desc, r.id desc limit p_most offset p_skip;
end $$;
comment on function biz.find_alerts is 'The newest alerts of one site or all';

create function biz.count_alerts(
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
comment on function biz.count_alerts is 'How many alerts match, counted up to p_most';

create type biz.alert_cause as (
    site_id bigint,
    last_at timestamptz,
    id bigint,
    first_at timestamptz,
    occurrences bigint,
    is_cut boolean
);
comment on type biz.alert_cause is
    'A repeated failure: its newest run, since when, and how often; is_cut where older alerts of its app were not looked at';

create function biz.group_alerts(
    p_site bigint,
    p_began timestamptz,
    p_ended timestamptz,
    p_apps text[],
    p_alert_statuses text[],
    p_most_each bigint
) returns setof biz.alert_cause language plpgsql stable
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
comment on function biz.group_alerts is
    'Alerts by cause: site, app, alert status, status and error code. Of each of the first three the newest p_most_each are looked at';

-- An alert, or all pending ones of its cause, at most p_most. Found rows are locked in one order, so that two who do the same
-- wait for each other, and the second finds nothing left to do.
create function biz.settle_alert(
    p_site bigint,
    p_user bigint,
    p_run bigint,
    p_alert_status text,
    p_action text,
    p_group boolean,
    p_most integer,
    out is_alert boolean,
    out affected bigint
) language plpgsql as $$
declare
    l biz.ai_run_logs;
begin
    select * into l from biz.ai_run_logs where site_id = p_site and id = p_run and alert_status is not null;
    is_alert := found;
    if not found then return; end if;

    with cause as materialized (
        select l.id, l.created_at
        union
        (select r.id, r.created_at from biz.ai_run_logs r
         where p_group and r.site_id = p_site and r.app_type = l.app_type and r.alert_status = 'pending'
           and r.status = l.status and r.error_code is not distinct from l.error_code
         order by r.created_at desc, r.id desc limit p_most)
    ), chosen as materialized (
        -- Looked at once more under its lock, for somebody else may have settled it meanwhile.
        select r.id, r.created_at from cause c join biz.ai_run_logs r on r.id = c.id and r.created_at = c.created_at
        where r.site_id = p_site and (r.alert_status = 'pending' or r.id = p_run and r.alert_status <> p_alert_status)
        order by r.id for no key update of r
    ), settled as (
        update biz.ai_run_logs r set alert_status = p_alert_status from chosen c
        where r.id = c.id and r.created_at = c.created_at and r.site_id = p_site
        returning r.id
    )
    select count(*) into affected from settled;

    if affected > 0 then
        perform biz.audit(p_site, p_user, p_action, p_run::text, jsonb_build_object(
            'group', p_group, 'affected', affected, 'app_type', l.app_type, 'status', l.status, 'error_code', l.error_code));
    end if;
end $$;
comment on function biz.settle_alert is
    'Marks an alert, or also the pending ones of its cause, as seen; is_alert is false where this site has no such alert';
