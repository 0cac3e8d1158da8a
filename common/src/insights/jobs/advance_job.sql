create type advanced_job as (
    outcome text,
    step integer,
    entry_id bigint,
    generation integer,
    retry_at timestamptz
);

comment on type advanced_job is
    'outcome: generate (fill the entry, for the step), succeeded (no step was left), cancelled (an '
    'admin cancelled the job), wait (another '
    'job generates for the target, or the circuit is open; this job is pending until retry_at), '
    'app_disabled (the app of the step has no application), or lost (the caller no longer owns the '
    'job)';

create function advance_job(
    p_site bigint,
    p_job bigint,
    p_claim integer,
    p_targets text[],
    p_app_ids text[],
    p_member bigint,
    p_valid_days integer[],
    p_lease_seconds double precision
) returns advanced_job language plpgsql as $$
declare
    r advanced_job;
    j biz.ai_trigger_jobs;
    g generation;
    v_today date := site_today(p_site);
    v_app application;
    v_due due_circuit;
begin
    select * into j from biz.ai_trigger_jobs
    where id = p_job and site_id = p_site and claims = p_claim and status = 'running' for no key update;
    if not found then r.outcome := 'lost'; return r; end if;

    -- Skip steps that have a result. From j.step on, a result of this job counts even after its
    -- expires_at. A forced job accepts other valid results only before j.step. If one of these has
    -- expired while the job waited, the job goes back to that step.
    r.step := 0;
    while r.step < cardinality(j.app_chain) and exists (
        select from biz.ai_cache c
        where c.site_id = p_site and c.cache_type = j.app_chain[r.step + 1] and c.target_id = p_targets[r.step + 1] and c.status = 'valid'
          and ((c.job_id = j.id and r.step >= j.step)
               or (is_result_valid(c, v_today) and (not j.is_forced or r.step < j.step))))
    loop
        r.step := r.step + 1;
    end loop;

    if r.step = cardinality(j.app_chain) then
        r.outcome := 'succeeded';
        update biz.ai_trigger_jobs set status = 'succeeded', step = r.step, lease_until = null, finished_at = clock_timestamp(),
            error_code = null, error_message = null
        where id = j.id;
        return r;
    end if;

    if j.cancel_requested_at is not null then
        r.outcome := 'cancelled';
        update biz.ai_trigger_jobs set status = 'cancelled', step = r.step, lease_until = null, finished_at = clock_timestamp()
        where id = j.id;
        return r;
    end if;

    -- Before the caller gathers facts for a prompt that it may not send.
    v_app := application_of(p_site, j.app_chain[r.step + 1], p_app_ids[r.step + 1]);
    if v_app.app_id is null then
        r.outcome := 'app_disabled';
        update biz.ai_trigger_jobs set step = r.step where id = j.id;
        return r;
    end if;
    v_due := first_due_circuit(v_app);
    r.retry_at := v_due.retry_at + jitter();
    if r.retry_at is not null then
        r.outcome := 'wait';
        update biz.ai_trigger_jobs set status = 'pending', step = r.step, lease_until = null, attempts = attempts - 1,
            run_after = r.retry_at, waits_for = 'circuit', waits_on = v_due.app_id,
            error_code = 'circuit_open', error_message = 'the app may not be called before then'
        where id = j.id;
        return r;
    end if;

    g := begin_generating(p_site, j.app_chain[r.step + 1], p_targets[r.step + 1], p_member, p_valid_days[r.step + 1],
                              j.trigger_type, j.id, p_lease_seconds);
    if g.entry_id is null then
        r.outcome := 'wait';
        r.retry_at := clock_timestamp() + greatest(interval '0', least(interval '5 seconds', g.others_until - clock_timestamp()));
        update biz.ai_trigger_jobs set status = 'pending', step = r.step, lease_until = null, attempts = attempts - 1, run_after = r.retry_at,
            waits_for = 'result', waits_on = null
        where id = j.id;
    else
        r.outcome := 'generate';
        r.entry_id := g.entry_id;
        r.generation := g.generation;
        update biz.ai_trigger_jobs set step = r.step, lease_until = clock_timestamp() + make_interval(secs => p_lease_seconds)
        where id = j.id;
    end if;
    return r;
end $$;

comment on function advance_job is
    'Skips the steps that have a result, and makes the caller the generator of the next step';
