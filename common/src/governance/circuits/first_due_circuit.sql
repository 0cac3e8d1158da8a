create type due_circuit as (
    app_id text,
    retry_at timestamptz
);

comment on type due_circuit is
    'A circuit, and when its next probe may begin; null if its application may be called now';

create function first_due_circuit(p_app application) returns due_circuit language plpgsql as $$
declare
    r due_circuit;
    v_fallback_at timestamptz := circuit_retry_at(p_app.fallback_app_id);
begin
    r.app_id := p_app.app_id;
    r.retry_at := circuit_retry_at(p_app.app_id);
    if p_app.fallback_app_id is not null
        and r.retry_at is not null
        and (v_fallback_at is null or v_fallback_at < r.retry_at)
    then
        r.app_id := p_app.fallback_app_id;
        r.retry_at := v_fallback_at;
    end if;
    return r;
end $$;

comment on function first_due_circuit is
    'Of an application and its fallback, the circuit that lets a call pass first. Changes nothing';
