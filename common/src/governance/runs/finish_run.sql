create type finished_run as (
    applied boolean,
    circuit text
);

comment on type finished_run is
    'applied: false if the run had already ended. circuit: opened or closed if this run changed '
    'the circuit to that state';

create type run_end as (
    status text,
    response text,
    tokens_in bigint,
    tokens_out bigint,
    models jsonb,
    unknown_tries integer,
    usage_implausible boolean,
    session_id text,
    session_lost boolean,
    prompt text,
    prompt_version text,
    first_token_ms bigint,
    latency_ms bigint,
    attempts integer,
    finish_reason text,
    upstream_request_id text,
    error_code text,
    error_message text,
    circuit text,
    doc_references jsonb
);

comment on type run_end is 'How a run ended. Same fields as RunEnd in Rust, which sends it as JSON';

-- Lock order: run, circuit, day (ai_usage_days), app of the day (ai_usage_daily), details of
-- the day (ai_usage_details). Day and app are locked in the same order as in open_run. The lock of
-- the day protects all rows after it.
create function finish_run(p_site bigint, p_run bigint, p_run_at timestamptz, e run_end)
returns finished_run language plpgsql as $$
declare
    r finished_run;
    v_app text;
    v_app_id text;
    v_day date;
    v_reserved bigint;
    v_charge bigint;
    v_rest bigint;
    v_user bigint;
    v_bot uuid;
    v_models integer := coalesce(jsonb_array_length(e.models), 0);
    v_input bigint;
    v_output bigint;
    v_exact bigint;
    v_sum bigint := 0;
    v_costs bigint[] := array[]::bigint[];
    v_cost bigint;
    v_unpriced integer;
    m jsonb;
    v_ok integer := (e.status in ('success', 'stopped'))::integer;
    v_bucket integer := latency_bucket(e.latency_ms);
begin
    e.unknown_tries := coalesce(e.unknown_tries, 0);
    -- Tokens times a price is in millionths of a millionth of a yuan. The sum is rounded once, half
    -- up. Each model gets the increase of the rounded sum, so that their costs add up to v_cost.
    -- The tier is the number of bounds below the input tokens, and one. This is not a function of
    -- its own, because the call would make the end of each reply a few percent slower.
    v_cost := case e.unknown_tries when 0 then 0 end;
    for v_place in 1..v_models loop
        m := e.models -> (v_place - 1);
        v_input := (m -> 'input_tokens')::bigint;
        v_output := (m -> 'output_tokens')::bigint;
        v_exact := (
            select v_input * p.input_per_million[t.tier] + v_output * p.output_per_million[t.tier]
            from biz.ai_prices p
            cross join lateral (
                select width_bucket(v_input - 1, p.up_to_input_tokens) + 1 as tier
            ) t
            where p.model = m ->> 'model_id' and p.valid_from <= (
                select local_day(s.timezone, p_run_at) from biz.sites s where s.id = p_site)
            order by p.valid_from desc limit 1);
        v_costs[v_place] := (v_sum + v_exact + 500000) / 1000000 - (v_sum + 500000) / 1000000;
        v_sum := v_sum + coalesce(v_exact, 0);
        v_cost := v_cost + v_costs[v_place];
    end loop;
    v_unpriced := (v_cost is null)::integer;
    update biz.ai_run_logs l set
        status = e.status,
        -- Blocked content is no problem of the service.
        alert_status = case
            when e.status in ('failed', 'timeout')
                and e.error_code is distinct from 'content_blocked' then 'pending'
            when e.usage_implausible then 'pending' end,
        request_prompt = coalesce(e.prompt, l.request_prompt),
        prompt_version = coalesce(e.prompt_version, l.prompt_version),
        response_text = e.response,
        tokens_in = e.tokens_in,
        tokens_out = e.tokens_out,
        tokens_used = e.tokens_in + e.tokens_out,
        models = e.models,
        model_costs = v_costs,
        model_id = e.models -> 0 ->> 'model_id',
        cost = v_cost,
        finish_reason = e.finish_reason,
        tokens_estimated = e.unknown_tries > 0,
        tokens_charged = coalesce(e.tokens_in + e.tokens_out, 0)
            + e.unknown_tries * l.reserved_tokens,
        first_token_ms = e.first_token_ms,
        latency_ms = e.latency_ms,
        attempts = e.attempts,
        session_id = e.session_id,
        upstream_request_id = e.upstream_request_id,
        error_code = coalesce(
            e.error_code, case when e.usage_implausible then 'usage_implausible' end),
        error_message = nullif(concat_ws('; ', e.error_message, case when e.usage_implausible
            then 'DashScope reported more tokens than a model can use: the reservation is charged'
            end), ''),
        finished_at = clock_timestamp()
    where l.id = p_run and l.created_at = p_run_at and l.site_id = p_site and l.status = 'running'
    returning l.app_type, coalesce(l.app_id, l.app_type), l.local_day, l.reserved_tokens,
              l.tokens_charged, l.user_id, l.bot_id,
              case when v_ok = 1 and not l.tokens_estimated
                   then greatest(0, l.tokens_used - l.prompt_tokens) end
    into v_app, v_app_id, v_day, v_reserved, v_charge, v_user, v_bot, v_rest;
    r.applied := found;
    if not r.applied then return r; end if;

    r.circuit := record_circuit(v_app_id, v_app, p_run, e.circuit);

    -- Replaces the reservation by the charge.
    update biz.ai_usage_days d set
        tokens = d.tokens + v_charge - v_reserved,
        cost = d.cost + coalesce(v_cost, 0)
    where d.site_id = p_site and d.day = v_day;
    update biz.ai_usage_daily u set
        calls = u.calls + 1,
        successes = u.successes + v_ok,
        failures = u.failures + 1 - v_ok,
        tokens = u.tokens + v_charge,
        tokens_in = u.tokens_in + coalesce(e.tokens_in, 0),
        tokens_out = u.tokens_out + coalesce(e.tokens_out, 0),
        cost = u.cost + coalesce(v_cost, 0),
        unpriced_calls = u.unpriced_calls + v_unpriced,
        rest_tokens = u.rest_tokens + coalesce(v_rest, 0),
        rest_calls = u.rest_calls + (v_rest is not null)::integer,
        reserved_tokens = u.reserved_tokens - v_reserved,
        latency_sum_ms = u.latency_sum_ms + e.latency_ms,
        last_status = e.status,
        last_call_at = p_run_at,
        latency_max_ms = greatest(u.latency_max_ms, e.latency_ms),
        latency_buckets = count_latency(u.latency_buckets, e.latency_ms),
        first_token_max_ms = greatest(u.first_token_max_ms, e.first_token_ms),
        first_token_buckets = count_latency(u.first_token_buckets, e.first_token_ms),
        -- The previous release reads this column.
        latency_histogram[v_bucket] = u.latency_histogram[v_bucket] + 1
    where u.site_id = p_site and u.day = v_day and u.app_type = v_app;
    -- The first model counts the run. After the models: what is charged for tries of unknown usage.
    for v_place in 1..greatest(1, v_models + (e.unknown_tries > 0)::integer) loop
        m := e.models -> (v_place - 1);
        v_input := (m -> 'input_tokens')::bigint;
        v_output := (m -> 'output_tokens')::bigint;
        insert into biz.ai_usage_details as u (
            site_id, day, user_id, bot_id, model_id, calls, successes, failures, tokens_in,
            tokens_out, tokens, cost, unpriced_calls)
        values (
            p_site, v_day, v_user, v_bot, m ->> 'model_id', (v_place = 1)::integer,
            case v_place when 1 then v_ok else 0 end, case v_place when 1 then 1 - v_ok else 0 end,
            coalesce(v_input, 0), coalesce(v_output, 0),
            coalesce(v_input + v_output, v_charge - coalesce(e.tokens_in + e.tokens_out, 0)),
            case v_unpriced when 0 then coalesce(v_costs[v_place], 0) else 0 end,
            case v_place when 1 then v_unpriced else 0 end)
        on conflict on constraint ai_usage_details_key do update set
            calls = u.calls + excluded.calls,
            successes = u.successes + excluded.successes,
            failures = u.failures + excluded.failures,
            tokens_in = u.tokens_in + excluded.tokens_in,
            tokens_out = u.tokens_out + excluded.tokens_out,
            tokens = u.tokens + excluded.tokens,
            cost = u.cost + excluded.cost,
            unpriced_calls = u.unpriced_calls + excluded.unpriced_calls;
    end loop;
    return r;
end $$;

comment on function finish_run is
    'Ends a run: updates log, cost, circuit, usage and budget. A run that has already ended is not changed';
