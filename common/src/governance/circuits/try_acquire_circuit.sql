-- Whether the app may be asked: 'closed' or 'probe' pass, 'circuit_open' does not.
-- Of all who come when an open circuit is due, the update lets exactly one through.
create function try_acquire_circuit(p_app_type text, p_run bigint) returns text language plpgsql as $$
begin
    if not exists (select from biz.ai_circuits k where k.app_type = p_app_type and k.state <> 'closed') then
        return 'closed';
    end if;
    -- Longer than a reply can take. A probe whose maker died hands its turn on when it is swept.
    update biz.ai_circuits set state = 'half_open', probe_run_id = p_run, retry_at = clock_timestamp() + interval '330 seconds'
    where app_type = p_app_type and state <> 'closed' and retry_at <= clock_timestamp();
    if found then return 'probe'; end if;
    if exists (select from biz.ai_circuits k where k.app_type = p_app_type and k.state = 'closed') then
        return 'closed';
    end if;
    return 'circuit_open';
end $$;

comment on function try_acquire_circuit is 'Lets a run pass a closed circuit, and one probe pass an open one that is due';
