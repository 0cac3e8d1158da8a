create type swept_jobs as (
    jobs integer,
    runs integer,
    skipped_jobs text[],
    skipped_runs text[]
);

comment on type swept_jobs is
    'Number of released jobs and of runs that no worker settled. skipped: rows that could not be '
    'changed, each as id and SQLSTATE';

create function sweep_jobs(
    p_tries integer,
    p_reply_tries integer,
    p_limit integer default 200
) returns swept_jobs
language plpgsql as $$
declare
    r swept_jobs := (0, 0, '{}', '{}');
    j biz.ai_trigger_jobs;
    l biz.ai_run_logs;
    v_dead biz.ai_trigger_jobs[];
begin
    if not take_sweep_lock() then return r; end if;
    -- As in sweep_replies, rows that cannot be changed do not count against the limit.
    v_dead := array(
        select d from (
            select * from biz.ai_trigger_jobs where status = 'running' and lease_until < now()
            order by lease_until limit 5 * p_limit for no key update skip locked
        ) d);
    -- End the replies and jobs before the runs. These updates may wait for a conversation; a
    -- session that waits must not already hold the usage row of a site, or there would be a
    -- deadlock.
    foreach j in array v_dead loop
        exit when r.jobs >= p_limit;
        begin
            perform release_dead_job(j, p_tries, p_reply_tries);
            r.jobs := r.jobs + 1;
        exception when others then
            r.skipped_jobs := r.skipped_jobs || concat_ws(' ', j.id, sqlstate);
        end;
    end loop;
    for l in
        select o.* from unnest(v_dead) d join biz.ai_run_logs o
            on o.status = 'running' and o.site_id = d.site_id and o.job_id = d.id
            and o.created_at >= d.created_at
    loop
        begin
            perform finish_orphaned_run(l);
        exception when others then
            r.skipped_runs := r.skipped_runs || concat_ws(' ', l.id, sqlstate);
        end;
    end loop;
    -- Runs that a living worker could not settle. No call takes 10 minutes.
    for l in
        select o.* from biz.ai_run_logs o
        where o.status = 'running' and o.message_id is null
          and o.created_at < now() - interval '10 minutes'
        order by o.created_at limit 5 * p_limit
    loop
        exit when r.runs >= p_limit;
        begin
            perform finish_orphaned_run(l);
            r.runs := r.runs + 1;
        exception when others then
            r.skipped_runs := r.skipped_runs || concat_ws(' ', l.id, sqlstate);
        end;
    end loop;
    return r;
end $$;

comment on function sweep_jobs is
    'Releases jobs whose lease has expired, then settles runs that no worker settled. A row that '
    'cannot be changed is skipped';
