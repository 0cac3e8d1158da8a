create function advance_jobs(p_jobs jsonb, p_lease_seconds double precision)
returns setof advanced_job language plpgsql as $$
begin
    if jsonb_array_length(p_jobs) > 1 then
        -- A lock that one job waits for must not stop the others.
        perform set_config('lock_timeout', '100ms', true);
    end if;
    return query
    select advanced.*
    from rows from (jsonb_to_recordset(p_jobs) as (
        site_id bigint, id bigint, claim integer, targets text[], app_ids text[],
        member_id bigint, valid_days integer[]
    )) with ordinality
        as job (site_id, id, claim, targets, app_ids, member_id, valid_days, place)
    cross join lateral advance_job(
        job.site_id, job.id, job.claim, job.targets, job.app_ids, job.member_id, job.valid_days,
        p_lease_seconds) advanced
    order by job.place;
end $$;

comment on function advance_jobs is
    'Calls advance_job for several jobs, all or none. Returns a row per job, in their order';
