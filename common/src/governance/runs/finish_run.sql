create type finished_run as (
    applied boolean,
    circuit text
);

comment on type finished_run is
    'applied: false when the run had already ended; circuit: opened or closed, where this end did that';

create type run_end as (
    status text,
    response text,
    tokens_in bigint,
    tokens_out bigint,
    charge_unknown boolean,
    session_id text,
    session_lost boolean,
    prompt text,
    prompt_version text,
    first_token_ms bigint,
    latency_ms bigint,
    attempts integer,
    upstream_request_id text,
    error_code text,
    error_message text,
    circuit text
);

comment on type run_end is 'How a run ended, as RunEnd in Rust has it; it comes as JSON';

create function finish_run(p_site bigint, p_run bigint, p_run_at timestamptz, e run_end)
returns finished_run language plpgsql as $$
declare
    r finished_run;
    l biz.ai_run_logs;
    v_ok integer := (e.status in ('success', 'stopped'))::integer;
begin
    update biz.ai_run_logs set
        status = e.status,
        alert_status = case when e.status in ('failed', 'timeout') then 'pending' end,
        request_prompt = coalesce(e.prompt, request_prompt),
        prompt_version = coalesce(e.prompt_version, prompt_version),
        response_text = e.response,
        tokens_in = e.tokens_in,
        tokens_out = e.tokens_out,
        tokens_used = e.tokens_in + e.tokens_out,
        tokens_estimated = e.tokens_in is null and e.charge_unknown,
        first_token_ms = e.first_token_ms,
        latency_ms = e.latency_ms,
        attempts = e.attempts,
        session_id = e.session_id,
        upstream_request_id = e.upstream_request_id,
        error_code = e.error_code,
        error_message = e.error_message,
        finished_at = clock_timestamp()
    where id = p_run and created_at = p_run_at and site_id = p_site and status = 'running'
    returning * into l;
    r.applied := found;
    if not r.applied then return r; end if;

    r.circuit := record_circuit(l.app_type, l.id, e.circuit);

    -- The reservation is corrected here: what was used takes the place of what was reserved.
    update biz.ai_usage_daily u set
        calls = u.calls + 1,
        successes = u.successes + v_ok,
        failures = u.failures + 1 - v_ok,
        tokens = u.tokens
            + coalesce(l.tokens_used, case when e.charge_unknown then l.reserved_tokens else 0 end),
        reserved_tokens = u.reserved_tokens - l.reserved_tokens,
        latency_sum_ms = u.latency_sum_ms + e.latency_ms,
        last_status = l.status,
        last_call_at = l.created_at,
        latency_histogram[latency_bucket(e.latency_ms)] =
            u.latency_histogram[latency_bucket(e.latency_ms)] + 1
    where u.site_id = p_site and u.day = l.local_day and u.app_type = l.app_type;
    return r;
end $$;

comment on function finish_run is
    'Ends a run: log, circuit, usage and budget. A run that has ended is left as it is';
