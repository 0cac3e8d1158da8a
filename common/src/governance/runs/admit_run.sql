-- l is the run to admit: site, app, trigger, reserved_tokens and all other known columns. It is
-- returned with id, day, time and status. Day and time are those when the budget was read.
-- An admitted run has the status running and is not stored yet (see open_run). A rejected run has
-- the status budget_exceeded or circuit_open. It is stored, unless it is a job that waits for a
-- circuit. In the returned row of a rejected run, finished_at is the time to retry.
create function admit_run(l biz.ai_run_logs) returns biz.ai_run_logs language plpgsql as $$
declare
    v_room budget_room := budget_room(l.site_id, l.reserved_tokens);
begin
    l.id := nextval('biz.ai_run_logs_id_seq');
    l.created_at := v_room.at;
    l.local_day := v_room.day;
    l.app_id := coalesce(l.app_id, l.app_type);
    if v_room.retry_at is not null then
        l.status := 'budget_exceeded';
    elsif try_acquire_circuit(l.app_id, l.id) = 'circuit_open' then
        l.status := 'circuit_open';
        v_room.retry_at := circuit_retry_at(l.app_id);
        -- A running probe usually ends long before its lease of 330 seconds. A person does not wait
        -- for the end of the lease. A job does, and is woken when the circuit closes.
        if l.trigger_type in ('chat', 'session') and exists (
            select from biz.ai_circuits k where k.app_id = l.app_id and k.state = 'half_open')
        then
            v_room.retry_at := l.created_at + interval '5 seconds';
        end if;
        -- A job that waits is not a run and not an alert.
        if l.job_id is not null then
            l.finished_at := greatest(v_room.retry_at, l.created_at + interval '1 second') + jitter();
            update biz.ai_trigger_jobs set waits_on = l.app_id
            where id = l.job_id and site_id = l.site_id;
            return l;
        end if;
    else
        l.status := 'running';
        return l;
    end if;
    -- Rejected runs are logged and counted, so that the dashboard shows them. They cost no tokens.
    insert into biz.ai_run_logs (
        id, site_id, user_id, app_type, app_id, trigger_type, member_id, job_id, conversation_id,
        status, alert_status, prompt_version, request_prompt, local_day, latency_ms, error_code,
        created_at, finished_at)
    values (
        l.id, l.site_id, l.user_id, l.app_type, l.app_id, l.trigger_type, l.member_id, l.job_id,
        l.conversation_id, l.status,
        case l.status when 'circuit_open' then 'pending' end, l.prompt_version,
        l.request_prompt, l.local_day, 0, l.status, l.created_at, l.created_at);
    insert into biz.ai_usage_daily as u (
        site_id, day, app_type, calls, failures, last_status, last_call_at)
    values (l.site_id, l.local_day, l.app_type, 1, 1, l.status, l.created_at)
    on conflict on constraint ai_usage_daily_pkey do update set
        calls = u.calls + 1, failures = u.failures + 1,
        last_status = excluded.last_status, last_call_at = excluded.last_call_at;
    l.finished_at := greatest(v_room.retry_at, l.created_at + interval '1 second');
    return l;
end $$;

comment on function admit_run is
    'Checks by budget and circuit whether a run may begin. Logs a rejected run; its returned '
    'finished_at is when to retry';
