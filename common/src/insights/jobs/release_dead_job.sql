create function release_dead_job(
    j biz.ai_trigger_jobs,
    p_tries integer,
    p_reply_tries integer
) returns void language plpgsql as $$
declare
    v_status text := case when j.cancel_requested_at is not null then 'cancelled'
                          when j.attempts < p_tries then 'pending' else 'failed' end;
begin
    if j.message_id is not null and j.attempts >= p_reply_tries then
        perform end_session_reply(
            p_site => j.site_id, p_job => j.id, p_claim => j.claims, p_state => 'failed',
            p_content => no_reply(), p_tokens => null, p_session_id => null,
            p_session_lost => false, p_error_code => 'interrupted',
            p_error_message => 'its worker was killed');
    end if;
    -- A try whose worker was killed counts.
    update biz.ai_trigger_jobs set
        status = v_status,
        lease_until = null, run_after = clock_timestamp(), error_code = 'interrupted',
        error_message = 'its worker was killed',
        finished_at = case when v_status <> 'pending' then clock_timestamp() end
    where id = j.id and status = 'running';
    with abandoned as (
        delete from biz.ai_cache
        where site_id = j.site_id and job_id = j.id and status = 'generating'
        returning cache_type, target_id
    )
    insert into biz.ai_result_failures as f (site_id, cache_type, target_id, job_id, error_code)
    select j.site_id, a.cache_type, a.target_id, j.id, 'interrupted' from abandoned a
    where v_status = 'failed'
    on conflict on constraint ai_result_failures_pkey do update set
        job_id = excluded.job_id, error_code = excluded.error_code, failed_at = excluded.failed_at;
end $$;

comment on function release_dead_job is
    'Releases a job whose worker was killed: pending again, failed after the last try, or cancelled '
    'if an admin requested it';
