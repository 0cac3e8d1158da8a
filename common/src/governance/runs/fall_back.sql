create type fallen_back as (
    applied boolean,
    circuit text
);

comment on type fallen_back is
    'applied: true if the run now calls its fallback application. circuit: opened if the circuit of '
    'the first application has opened';

-- Locks: run; circuit or calls of the fallback; circuit of the first application.
create function fall_back(
    p_site bigint,
    p_run bigint,
    p_run_at timestamptz,
    p_app_id text,
    p_max_per_second integer
) returns fallen_back language plpgsql as $$
declare
    r fallen_back;
    v_app text;
    v_app_id text;
    v_circuit text;
begin
    r.applied := false;
    select l.app_type, coalesce(l.app_id, l.app_type) into v_app, v_app_id from biz.ai_run_logs l
    where l.id = p_run and l.created_at = p_run_at and l.site_id = p_site and l.status = 'running'
    for no key update;
    if not found then return r; end if;
    v_circuit := try_acquire_circuit(p_app_id, p_run);
    if v_circuit = 'circuit_open'
        or v_circuit = 'closed' and take_call(p_app_id, p_max_per_second) is not null
    then
        return r;
    end if;
    -- finish_run counts the end of the run for the fallback.
    r.circuit := record_circuit(v_app_id, v_app, p_run, 'failure');
    update biz.ai_run_logs l set app_id = p_app_id
    where l.id = p_run and l.created_at = p_run_at and l.site_id = p_site;
    r.applied := true;
    return r;
end $$;

comment on function fall_back is
    'Moves a run whose application throttles to its fallback application, if the circuit of the '
    'fallback is closed or due, and if it has a call left in this second';
