create type generation as (
    entry_id bigint,
    generation integer,
    others_until timestamptz
);

comment on type generation is
    'Either the entry to fill and its generation, or the end of the lease of another job';

create function begin_generating(
    p_site bigint,
    p_type text,
    p_target text,
    p_member bigint,
    p_valid_days integer,
    p_triggered_by text,
    p_job bigint,
    p_lease_seconds double precision
) returns generation language plpgsql as $$
declare
    g generation;
begin
    insert into biz.ai_cache as c (site_id, cache_type, target_id, member_id, valid_days, triggered_by, job_id, business_date, lease_until, created_at)
    values (p_site, p_type, p_target, p_member, p_valid_days, p_triggered_by, p_job, site_today(p_site),
            clock_timestamp() + make_interval(secs => p_lease_seconds), clock_timestamp())
    on conflict (site_id, cache_type, target_id) where status = 'generating' do update set
        member_id = excluded.member_id, valid_days = excluded.valid_days, triggered_by = excluded.triggered_by,
        job_id = excluded.job_id, business_date = excluded.business_date, lease_until = excluded.lease_until,
        created_at = excluded.created_at, generation = c.generation + 1
    -- A job that claims its own entry again has lost its former worker.
    where c.lease_until <= clock_timestamp() or c.job_id = excluded.job_id
    returning c.id, c.generation into g.entry_id, g.generation;
    if not found then
        select c.lease_until into g.others_until from biz.ai_cache c
        where c.site_id = p_site and c.cache_type = p_type and c.target_id = p_target and c.status = 'generating';
        -- The other generation has just ended. There is nothing to wait for.
        g.others_until := coalesce(g.others_until, clock_timestamp());
    end if;
    return g;
end $$;

comment on function begin_generating is
    'Makes the caller the only generator of a target, or returns the end of the lease of another '
    'job';
