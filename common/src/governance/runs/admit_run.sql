-- l is the run to admit: site, app, trigger and all other known columns. It is returned with id,
-- day, time, reservation and status. Day and time are those when the budget was read.
-- An admitted run has the status running and is not stored yet (see open_run). A refused run has
-- the status budget_exceeded or circuit_open. It is logged, unless it is a job that waits for a
-- circuit. In the returned row of a refused run, finished_at is the time to retry.
create function admit_run(l biz.ai_run_logs, p_rule token_rule, p_chars bigint)
returns biz.ai_run_logs language plpgsql as $$
declare
    v_room budget_room;
begin
    l.prompt_tokens := prompt_tokens(p_rule, p_chars);
    l.reserved_tokens := l.prompt_tokens + rest_tokens(l.site_id, l.app_type, p_rule.rest);
    v_room := budget_room(l.site_id, l.reserved_tokens);
    l.id := nextval('biz.ai_run_logs_id_seq');
    l.created_at := v_room.at;
    l.local_day := v_room.day;
    l.app_id := coalesce(l.app_id, l.app_type);
    if v_room.retry_at is not null then
        l.status := 'budget_exceeded';
        if l.job_id is not null then
            update biz.ai_trigger_jobs set waits_tokens = l.reserved_tokens
            where id = l.job_id and site_id = l.site_id;
        end if;
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
    perform log_refusal(l);
    l.finished_at := greatest(v_room.retry_at, l.created_at + interval '1 second');
    return l;
end $$;

comment on function admit_run is
    'Checks by budget and circuit whether a run may begin. p_chars: length of its prompt. Logs a refused run; its returned '
    'finished_at is when to retry';
