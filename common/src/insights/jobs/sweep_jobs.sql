create function sweep_jobs(
    p_tries integer,
    p_reply_tries integer,
    p_limit integer default 200
) returns table (jobs integer, runs integer)
language plpgsql as $$
declare
    j biz.ai_trigger_jobs;
    v_dead biz.ai_trigger_jobs[];
begin
    jobs := 0; runs := 0;
    if not take_sweep_lock() then return next; return; end if;
    v_dead := array(
        select d from (
            select * from biz.ai_trigger_jobs where status = 'running' and lease_until < now()
            order by lease_until limit p_limit for no key update skip locked
        ) d);
    -- End the replies and jobs before the runs. These updates may wait for a conversation; a
    -- session that waits must not already hold the usage row of a site, or there would be a
    -- deadlock.
    foreach j in array v_dead loop
        if j.message_id is not null and j.attempts >= p_reply_tries then
            perform end_session_reply(
                p_site => j.site_id, p_job => j.id, p_claim => j.claims, p_state => 'failed', p_content => no_reply(),
                p_tokens => null, p_session_id => null, p_session_lost => false,
                p_error_code => 'interrupted', p_error_message => 'its worker was killed');
        end if;
        -- A try whose worker was killed counts.
        update biz.ai_trigger_jobs set
            status = case when j.attempts < p_tries then 'pending' else 'failed' end,
            lease_until = null, run_after = clock_timestamp(), error_code = 'interrupted',
            error_message = 'its worker was killed',
            finished_at = case when j.attempts < p_tries then null else clock_timestamp() end
        where id = j.id and status = 'running';
        delete from biz.ai_cache where site_id = j.site_id and job_id = j.id and status = 'generating';
    end loop;
    foreach j in array v_dead loop
        perform finish_orphaned_run(l) from biz.ai_run_logs l
        where l.status = 'running' and l.site_id = j.site_id and l.job_id = j.id and l.created_at >= j.created_at;
        jobs := jobs + 1;
    end loop;
    -- Runs that a living worker could not settle. No call takes 10 minutes.
    perform finish_orphaned_run(l) from biz.ai_run_logs l
    where l.status = 'running' and l.message_id is null and l.created_at < now() - interval '10 minutes'
    order by l.created_at limit p_limit;
    get diagnostics runs = row_count;
    return next;
end $$;

comment on function sweep_jobs is
    'Releases jobs whose lease has expired: pending again, or failed after the last try. Then '
    'settles runs that no worker settled';
