create function finish_job_run(
    p_site bigint,
    p_job bigint,
    p_claim integer,
    p_entry bigint,
    p_generation integer,
    p_run bigint,
    p_run_at timestamptz,
    p_end jsonb,
    p_result jsonb,
    p_score integer
) returns finished_run language plpgsql as $$
declare
    r finished_run;
begin
    -- The run is always settled, because the call was paid. The result is stored only if the caller
    -- still owns the job.
    perform from biz.ai_trigger_jobs
    where id = p_job and site_id = p_site and claims = p_claim and status = 'running' for no key update;
    r.applied := found;
    if r.applied and p_result is not null then
        r.applied := finalize_generating(
            p_site, p_entry, p_generation, p_result, p_score, p_run,
            (select l.prompt_version from biz.ai_run_logs l where l.id = p_run and l.created_at = p_run_at));
    end if;
    r.circuit := (finish_run(p_site, p_run, p_run_at, jsonb_populate_record(null::run_end, p_end))).circuit;
    return r;
end $$;

comment on function finish_job_run is
    'Settles a run and stores its result; applied: false if the caller has lost the job or the entry';
