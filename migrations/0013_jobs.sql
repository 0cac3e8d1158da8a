-- The queue of background work. Its truth is this table: a message of SQS only wakes a worker.
create table biz.ai_trigger_jobs (
    id bigint generated always as identity constraint ai_trigger_jobs_pkey primary key,
    site_id bigint not null constraint ai_trigger_jobs_site_id_fkey references biz.sites (id),
    event_type text not null,
    connector_type text not null,
    trigger_type text not null,
    member_id bigint,
    payload jsonb not null default '{}',
    app_chain text[] not null,
    step integer not null default 0,
    is_forced boolean not null default false,
    status text not null default 'pending',
    attempts integer not null default 0,
    claims integer not null default 0,
    run_after timestamptz not null default now(),
    lease_until timestamptz,
    event_id text,
    dedup_key text,
    duplicate_of bigint,
    batch_id uuid,
    retry_of bigint constraint ai_trigger_jobs_retry_of_fkey references biz.ai_trigger_jobs (id),
    error_code text,
    error_message text,
    created_at timestamptz not null default now(),
    started_at timestamptz,
    finished_at timestamptz,
    constraint ai_trigger_jobs_event_type_known check (event_type in (
        'consumption.settled', 'note.created', 'task.assigned', 'etl.finished', 'prewarm', 'chat.session_message', 'batch')),
    constraint ai_trigger_jobs_connector_type_known check (connector_type in (
        'event_bus', 'admin_api', 'schedule', 'command', 'job', 'session_api', 'batch')),
    constraint ai_trigger_jobs_trigger_type_known check (trigger_type in ('session', 'event', 'prewarm', 'batch', 'manual')),
    constraint ai_trigger_jobs_status_known check (status in (
        'pending', 'running', 'succeeded', 'failed', 'skipped_duplicate', 'cancelled')),
    constraint ai_trigger_jobs_running_is_leased check ((status = 'running') = (lease_until is not null)),
    constraint ai_trigger_jobs_step_in_chain check (step between 0 and cardinality(app_chain))
) with (fillfactor = 70);
create index ai_trigger_jobs_due_idx on biz.ai_trigger_jobs (site_id, run_after, id) where status = 'pending';
create index ai_trigger_jobs_lease_idx on biz.ai_trigger_jobs (lease_until) where status = 'running';
create index ai_trigger_jobs_site_idx on biz.ai_trigger_jobs (site_id, created_at desc, id desc);
create index ai_trigger_jobs_skipped_idx on biz.ai_trigger_jobs (created_at, site_id) where status = 'skipped_duplicate';
-- The same event of the same day is one job, unless the first came to nothing. What a prewarm has made may be
-- wanted anew, when it was invalidated: that is one only while it is under way.
create unique index ai_trigger_jobs_dedup_key on biz.ai_trigger_jobs (site_id, dedup_key)
    where not is_forced and (status in ('pending', 'running') or (status = 'succeeded' and event_type <> 'prewarm'));
create unique index ai_trigger_jobs_event_id_key on biz.ai_trigger_jobs (site_id, event_id);
comment on table biz.ai_trigger_jobs is 'Background work: an event and the chain of apps that it sets off';
comment on column biz.ai_trigger_jobs.connector_type is 'By which way it came';
comment on column biz.ai_trigger_jobs.trigger_type is 'As its runs are logged';
comment on column biz.ai_trigger_jobs.step is 'Apps of the chain that are done';
comment on column biz.ai_trigger_jobs.attempts is 'Tries that count: one that only had to wait is given back';
comment on column biz.ai_trigger_jobs.claims is 'Fences its worker: every claim counts it up';
comment on column biz.ai_trigger_jobs.event_id is 'Given by the event bus: one that is delivered again is the same event';
comment on column biz.ai_trigger_jobs.dedup_key is 'Business date, event, member and subject';
comment on column biz.ai_trigger_jobs.duplicate_of is 'skipped_duplicate: the job that has the same key';

create table biz.ai_job_turns (
    site_id bigint not null constraint ai_job_turns_pkey primary key constraint ai_job_turns_site_id_fkey references biz.sites (id),
    claimed_at timestamptz not null
) with (fillfactor = 50);
comment on table biz.ai_job_turns is 'When a site last had a turn, so that sites take turns whatever the length of their queues';

create type biz.enqueued_job as (
    id bigint,
    status text
);
comment on type biz.enqueued_job is 'Id and status of a job, pending or skipped_duplicate; nulls where there is no such site';

create function biz.enqueue_job(
    p_site bigint,
    p_event text,
    p_event_id text,
    p_connector text,
    p_trigger text,
    p_member bigint,
    p_payload jsonb,
    p_chain text[],
    p_subject text,
    p_forced boolean
) returns biz.enqueued_job language plpgsql as $$
declare
    r biz.enqueued_job;
    v_today date := biz.site_today(p_site);
    v_key text := concat_ws('/', v_today, p_event, coalesce(p_member::text, '-'), p_subject);
    v_first bigint;
begin
    if v_today is null then return r; end if;
    insert into biz.ai_trigger_jobs (site_id, event_type, event_id, connector_type, trigger_type, member_id, payload, app_chain, is_forced, dedup_key)
    values (p_site, p_event, p_event_id, p_connector, p_trigger, p_member, p_payload, p_chain, p_forced, v_key)
    on conflict do nothing
    returning id, status into r.id, r.status;
    if found then return r; end if;

    select j.id, j.status into r.id, r.status from biz.ai_trigger_jobs j where j.site_id = p_site and j.event_id = p_event_id;
    if found then return r; end if;

    select j.id into v_first from biz.ai_trigger_jobs j
    where j.site_id = p_site and j.dedup_key = v_key
      and not j.is_forced and (j.status in ('pending', 'running') or (j.status = 'succeeded' and j.event_type <> 'prewarm'));
    insert into biz.ai_trigger_jobs as j (site_id, event_type, event_id, connector_type, trigger_type, member_id, payload, app_chain, dedup_key,
                                          status, duplicate_of, error_message, finished_at)
    values (p_site, p_event, p_event_id, p_connector, p_trigger, p_member, p_payload, p_chain, v_key,
            'skipped_duplicate', v_first, concat('the same event of ', v_today, ' is job ', v_first), now())
    -- Delivered twice at this very moment.
    on conflict (site_id, event_id) do update set event_id = j.event_id
    returning id, status into r.id, r.status;
    return r;
end $$;
comment on function biz.enqueue_job is
    'Queues an event; one that came before on the same business date is recorded as skipped_duplicate, unless it is forced';

create type biz.advanced_job as (
    outcome text,
    step integer,
    entry_id bigint,
    generation integer,
    retry_at timestamptz
);
comment on type biz.advanced_job is
    'generate: fill the entry, for the step; succeeded: nothing was left to do; wait: another has the target, the job is pending until retry_at; lost: the job is no longer the caller''s';

create function biz.advance_job(
    p_site bigint,
    p_job bigint,
    p_claim integer,
    p_targets text[],
    p_member bigint,
    p_valid_days integer[],
    p_lease_seconds double precision
) returns biz.advanced_job language plpgsql as $$
declare
    r biz.advanced_job;
    j biz.ai_trigger_jobs;
    g biz.generation;
    v_today date := biz.site_today(p_site);
begin
    select * into j from biz.ai_trigger_jobs
    where id = p_job and site_id = p_site and claims = p_claim and status = 'running' for no key update;
    if not found then r.outcome := 'lost'; return r; end if;

    -- A step that finds a result is skipped. A forced job takes only its own: those it made before it was interrupted.
    -- What it has just made counts, however short it holds; but where a job had to wait, and what it rests on has
    -- ceased to hold, it goes back to there.
    r.step := 0;
    while r.step < cardinality(j.app_chain) and exists (
        select from biz.ai_cache c
        where c.site_id = p_site and c.cache_type = j.app_chain[r.step + 1] and c.target_id = p_targets[r.step + 1] and c.status = 'valid'
          and ((c.job_id = j.id and r.step >= j.step)
               or (biz.cache_holds(c, v_today) and (not j.is_forced or r.step < j.step))))
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

    g := biz.begin_generating(p_site, j.app_chain[r.step + 1], p_targets[r.step + 1], p_member, p_valid_days[r.step + 1],
                              j.trigger_type, j.id, p_lease_seconds);
    if g.entry_id is null then
        r.outcome := 'wait';
        r.retry_at := clock_timestamp() + greatest(interval '0', least(interval '5 seconds', g.others_until - clock_timestamp()));
        update biz.ai_trigger_jobs set status = 'pending', step = r.step, lease_until = null, attempts = attempts - 1, run_after = r.retry_at
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
comment on function biz.advance_job is
    'Skips the steps that have a result, and makes the caller the generator of the first that has none';

create type biz.begun_run as (
    outcome text,
    run_id bigint,
    run_at timestamptz,
    retry_at timestamptz
);
comment on type biz.begun_run is 'outcome: running, budget_exceeded or circuit_open (then retry_at), or lost: the job is no longer the caller''s';

-- Locks: job, site, circuit, usage.
create function biz.begin_job_run(
    p_site bigint,
    p_job bigint,
    p_claim integer,
    p_app_type text,
    p_member bigint,
    p_reserve bigint,
    p_prompt text,
    p_prompt_version text,
    p_lease_seconds double precision
) returns biz.begun_run language plpgsql as $$
declare
    r biz.begun_run;
    l biz.ai_run_logs;
begin
    update biz.ai_trigger_jobs set lease_until = clock_timestamp() + make_interval(secs => p_lease_seconds)
    where id = p_job and site_id = p_site and claims = p_claim and status = 'running'
    returning trigger_type into l.trigger_type;
    if not found then r.outcome := 'lost'; return r; end if;
    l.site_id := p_site;
    l.app_type := p_app_type;
    l.member_id := p_member;
    l.job_id := p_job;
    l.request_prompt := p_prompt;
    l.prompt_version := p_prompt_version;
    l.reserved_tokens := p_reserve;
    l := biz.admit_run(l);
    r.outcome := l.status;
    r.run_id := l.id;
    r.run_at := l.created_at;
    if l.status = 'running' then
        perform biz.open_run(l);
        -- As with a reply: whoever asked has given up by now.
        if clock_timestamp() - statement_timestamp() > interval '1.2 seconds' then
            raise exception 'a run began too late' using errcode = 'query_canceled';
        end if;
    else
        r.retry_at := l.finished_at;
    end if;
    return r;
end $$;
comment on function biz.begin_job_run is 'Admits and opens a run for a job that is still the caller''s';

-- The run is settled whatever became of the job, for it was paid. Only whose job it still is may write the result.
create function biz.finish_job_run(
    p_site bigint,
    p_job bigint,
    p_claim integer,
    p_entry bigint,
    p_generation integer,
    p_run bigint,
    p_run_at timestamptz,
    p_status text,
    p_response text,
    p_tokens_in bigint,
    p_tokens_out bigint,
    p_charge_unknown boolean,
    p_session_id text,
    p_latency_ms bigint,
    p_attempts integer,
    p_upstream_request_id text,
    p_error_code text,
    p_error_message text,
    p_circuit text,
    p_result jsonb,
    p_score integer
) returns biz.finished_run language plpgsql as $$
declare
    r biz.finished_run;
begin
    perform from biz.ai_trigger_jobs
    where id = p_job and site_id = p_site and claims = p_claim and status = 'running' for no key update;
    r.applied := found;
    if r.applied and p_result is not null then
        r.applied := biz.finalize_generating(p_site, p_entry, p_generation, p_result, p_score, p_run);
    end if;
    r.circuit := (biz.finish_run(
        p_site => p_site, p_run => p_run, p_run_at => p_run_at, p_status => p_status, p_response => p_response,
        p_tokens_in => p_tokens_in, p_tokens_out => p_tokens_out, p_charge_unknown => p_charge_unknown,
        p_session_id => p_session_id, p_prompt => null, p_prompt_version => null, p_first_token_ms => null,
        p_latency_ms => p_latency_ms, p_attempts => p_attempts, p_upstream_request_id => p_upstream_request_id,
        p_error_code => p_error_code, p_error_message => p_error_message, p_circuit => p_circuit)).circuit;
    return r;
end $$;
comment on function biz.finish_job_run is
    'Settles a run and stores its result; applied: false where the job or the entry is no longer the caller''s';

create function biz.end_dead_run(l biz.ai_run_logs) returns void language sql as $$
    select biz.finish_run(
        p_site => l.site_id, p_run => l.id, p_run_at => l.created_at, p_status => 'failed', p_response => null,
        p_tokens_in => null, p_tokens_out => null, p_charge_unknown => true, p_session_id => null,
        p_prompt => null, p_prompt_version => null, p_first_token_ms => null,
        p_latency_ms => (extract(epoch from clock_timestamp() - l.created_at) * 1000)::bigint, p_attempts => l.attempts,
        p_upstream_request_id => null, p_error_code => 'interrupted', p_error_message => 'whoever made the call died',
        p_circuit => 'neither')
$$;
comment on function biz.end_dead_run is 'Settles a run whose maker is dead: it may have cost what was reserved';

create function biz.sweep_jobs(p_limit integer default 200) returns table (jobs integer, runs integer)
language plpgsql as $$
declare
    j biz.ai_trigger_jobs;
begin
    jobs := 0; runs := 0;
    if not biz.take_sweep_lock() then return next; return; end if;
    for j in
        select * from biz.ai_trigger_jobs where status = 'running' and lease_until < now()
        order by lease_until limit p_limit for no key update skip locked
    loop
        -- The fifth time that it takes its worker with it is the last.
        update biz.ai_trigger_jobs set
            status = case when j.attempts < 5 then 'pending' else 'failed' end,
            lease_until = null, run_after = clock_timestamp(), error_code = 'interrupted',
            error_message = 'whoever worked on it died',
            finished_at = case when j.attempts < 5 then null else clock_timestamp() end
        where id = j.id;
        delete from biz.ai_cache where site_id = j.site_id and job_id = j.id and status = 'generating';
        perform biz.end_dead_run(l) from biz.ai_run_logs l
        where l.status = 'running' and l.site_id = j.site_id and l.job_id = j.id and l.created_at >= j.created_at;
        jobs := jobs + 1;
    end loop;
    -- What a worker that lives could not settle. No call takes so long.
    perform biz.end_dead_run(l) from biz.ai_run_logs l
    where l.status = 'running' and l.message_id is null and l.created_at < now() - interval '10 minutes'
    order by l.created_at limit p_limit;
    get diagnostics runs = row_count;
    return next;
end $$;
comment on function biz.sweep_jobs is
    'Jobs whose worker is dead are pending again, or failed where that was the fifth attempt; runs that nobody settled are settled';
