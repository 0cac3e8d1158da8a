-- l is the run to admit: site, app, trigger, reserved_tokens and all other known columns. It is
-- returned with id, day, time, app_id and status. Day and time are those when the budget was read.
-- An admitted run has the status running and is not stored yet (see open_run). A rejected run has
-- the status budget_exceeded or circuit_open. It is stored, unless it is a job that waits for a
-- circuit. In the returned row of a rejected run, finished_at is the time to retry.
-- The status is null if the application has no call left in this second. That is not a run.
-- If the circuit of the application is open and that of its fallback is not, the run is admitted
-- with the fallback as its app_id.
create function admit_run(l biz.ai_run_logs, p_app application) returns biz.ai_run_logs
language plpgsql as $$
declare
    v_room budget_room := budget_room(l.site_id, l.reserved_tokens);
    v_circuit text;
    v_due due_circuit;
begin
    l.id := nextval('biz.ai_run_logs_id_seq');
    l.created_at := v_room.at;
    l.local_day := v_room.day;
    l.app_id := p_app.app_id;
    if v_room.retry_at is not null then
        l.status := 'budget_exceeded';
    else
        v_circuit := try_acquire_circuit(l.app_id, l.id);
        if v_circuit = 'circuit_open' and p_app.fallback_app_id is not null then
            v_circuit := try_acquire_circuit(p_app.fallback_app_id, l.id);
            if v_circuit <> 'circuit_open' then l.app_id := p_app.fallback_app_id; end if;
        end if;
        -- A probe always passes: it is the only call of its application.
        if v_circuit = 'closed' then
            l.finished_at := take_call(l.app_id, p_app.max_per_second);
        end if;
        if l.finished_at is not null then
            -- Jobs that wait for the same second do not come back at once.
            if l.job_id is not null then l.finished_at := l.finished_at + jitter(); end if;
            return l;
        elsif v_circuit <> 'circuit_open' then
            l.status := 'running';
            return l;
        end if;
        l.status := 'circuit_open';
        v_due := first_due_circuit(p_app);
        v_room.retry_at := v_due.retry_at;
        -- A running probe usually ends long before its lease of 330 seconds. A person does not wait
        -- for the end of the lease. A job does, and is woken when the circuit closes.
        if l.trigger_type in ('chat', 'session') and exists (
            select from biz.ai_circuits k where k.app_id = v_due.app_id and k.state = 'half_open')
        then
            v_room.retry_at := l.created_at + interval '5 seconds';
        end if;
        -- A job that waits is not a run and not an alert.
        if l.job_id is not null then
            l.finished_at := greatest(v_room.retry_at, l.created_at + interval '1 second') + jitter();
            update biz.ai_trigger_jobs set waits_on = v_due.app_id
            where id = l.job_id and site_id = l.site_id;
            return l;
        end if;
    end if;
    -- Rejected runs are logged and counted, so that the dashboard shows them. They cost no tokens.
    insert into biz.ai_run_logs (
        id, site_id, user_id, app_type, app_id, trigger_type, member_id, job_id, status, alert_status,
        prompt_version, request_prompt, local_day, latency_ms, error_code, created_at, finished_at)
    values (
        l.id, l.site_id, l.user_id, l.app_type, l.app_id, l.trigger_type, l.member_id, l.job_id,
        l.status,
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
    'Checks by budget, circuit and calls per second whether a run may begin. Logs a run that budget '
    'or circuit rejects. finished_at of a rejected run is when to retry';
