-- Returns 'closed' or 'probe' if the application may be called, otherwise 'circuit_open'.
-- When an open circuit is due, the update makes exactly one concurrent run the probe.
create function try_acquire_circuit(p_app_id text, p_run bigint) returns text language plpgsql as $$
begin
    if not exists (select from biz.ai_circuits k where k.app_id = p_app_id and k.state <> 'closed') then
        return 'closed';
    end if;
    -- 330 seconds is longer than a reply can take. If the function of a probe is killed, the sweep
    -- ends the run, and the next call becomes the probe.
    update biz.ai_circuits set state = 'half_open', probe_run_id = p_run, retry_at = clock_timestamp() + interval '330 seconds'
    where app_id = p_app_id and state <> 'closed' and retry_at <= clock_timestamp();
    if found then return 'probe'; end if;
    if exists (select from biz.ai_circuits k where k.app_id = p_app_id and k.state = 'closed') then
        return 'closed';
    end if;
    return 'circuit_open';
end $$;

comment on function try_acquire_circuit is 'Lets a run pass if the circuit is closed. Lets one probe pass if the circuit is open and due';
