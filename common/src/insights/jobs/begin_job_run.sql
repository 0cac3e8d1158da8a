create type begun_run as (
    outcome text,
    run_id bigint,
    run_at timestamptz,
    reserved_tokens bigint,
    retry_at timestamptz
);

comment on type begun_run is
    'outcome: running; budget_exceeded or circuit_open (then retry_at); or lost (the caller no '
    'longer owns the job)';

create function begin_job_run(
    p_site bigint,
    p_job bigint,
    p_claim integer,
    p_app_type text,
    p_app_id text,
    p_member bigint,
    p_rule token_rule,
    p_prompt text,
    p_prompt_version text,
    p_lease_seconds double precision,
    p_until timestamptz default 'infinity'
) returns begun_run language plpgsql as $$
declare
    r begun_run;
    l biz.ai_run_logs;
begin
    update biz.ai_trigger_jobs set lease_until = clock_timestamp() + make_interval(secs => p_lease_seconds)
    where id = p_job and site_id = p_site and claims = p_claim and status = 'running'
    returning trigger_type into l.trigger_type;
    if not found then r.outcome := 'lost'; return r; end if;
    l.site_id := p_site;
    l.app_type := p_app_type;
    l.app_id := p_app_id;
    l.member_id := p_member;
    l.job_id := p_job;
    l.request_prompt := p_prompt;
    l.prompt_version := p_prompt_version;
    l := admit_run(l, p_rule, char_length(p_prompt));
    r.outcome := l.status;
    r.run_id := l.id;
    r.run_at := l.created_at;
    r.reserved_tokens := l.reserved_tokens;
    if l.status = 'running' then
        perform open_run(l);
        -- As in begin_reply: the caller has timed out.
        if clock_timestamp() > p_until then
            raise exception 'a run began too late' using errcode = 'query_canceled';
        end if;
    else
        r.retry_at := l.finished_at;
    end if;
    return r;
end $$;

comment on function begin_job_run is 'Admits and opens a run, if the caller still owns the job';
