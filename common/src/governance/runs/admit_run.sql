-- l is the run to admit: site, app, trigger and all other known columns. It is returned with id,
-- day, time, reservation, app_id and status. Day and time are those when the budget was read.
-- An admitted run has the status running and is not stored yet (see open_run). A refused run has
-- the status budget_exceeded, quota_exceeded or circuit_open. It is logged, unless it is a job that
-- waits for a circuit. In the returned row of a refused run, finished_at is the time to retry. With
-- quota_exceeded, error_message is the quota as JSON.
-- The status is null if the application has no call left in this second. That is not a run.
-- If the circuit of the application is open and that of its fallback is not, the run is admitted
-- with the fallback as its app_id.
create function admit_run(
    l biz.ai_run_logs,
    p_rule token_rule,
    p_chars bigint,
    p_app application
) returns biz.ai_run_logs language plpgsql as $$
declare
    v_room budget_room;
    v_quota exceeded_quota;
    v_circuit text;
    v_due due_circuit;
begin
    l.prompt_tokens := prompt_tokens(p_rule, p_chars);
    l.reserved_tokens := l.prompt_tokens + rest_tokens(l.site_id, l.app_type, p_rule.rest);
    v_room := budget_room(l.site_id, l.reserved_tokens);
    l.id := nextval('biz.ai_run_logs_id_seq');
    l.created_at := v_room.at;
    l.local_day := v_room.day;
    l.app_id := p_app.app_id;
    if v_room.retry_at is null then v_quota := exceeded_quota(l); end if;
    if v_room.retry_at is not null then
        l.status := 'budget_exceeded';
        if l.job_id is not null then
            update biz.ai_trigger_jobs set waits_tokens = l.reserved_tokens
            where id = l.job_id and site_id = l.site_id;
        end if;
    elsif v_quota.retry_at is not null then
        l.status := 'quota_exceeded';
        l.error_message := v_quota.quota::text;
        v_room.retry_at := v_quota.retry_at;
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
    perform log_refusal(l);
    l.finished_at := greatest(v_room.retry_at, l.created_at + interval '1 second');
    return l;
end $$;

comment on function admit_run is
    'Checks by budget, quotas, circuit and calls per second whether a run may begin. p_chars: length '
    'of its prompt. Logs a run that budget, quota or circuit refuses; its returned finished_at is '
    'when to retry';
