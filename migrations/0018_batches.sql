-- What admins see and do of background work: jobs by kind, a job started again, many members at once, and
-- the cache.

-- Each kind of job of a site, the newest first: a list that is filtered reads no more than it shows. The
-- plain list has its own (ai_trigger_jobs_site_idx).
create index ai_trigger_jobs_kind_idx on biz.ai_trigger_jobs (site_id, event_type, status, created_at desc, id desc);
create index ai_trigger_jobs_retry_of_idx on biz.ai_trigger_jobs (retry_of) where retry_of is not null;
create index ai_run_logs_job_idx on biz.ai_run_logs (job_id, created_at, id) where job_id is not null;
create index ai_cache_kind_idx on biz.ai_cache (site_id, cache_type, status, id desc);

create type biz.retried_job as (
    outcome text,
    id bigint
);
comment on type biz.retried_job is
    'retried, with the new job; else not_found, under_way, or answered: a message of a session is not answered twice';

-- A job, its retries and theirs are one piece of work, which is done by one of them at a time. The first of
-- them is locked, so that two who ask at once are one after the other, whichever of them they name.
create function biz.retry_job(p_site bigint, p_user bigint, p_job bigint) returns biz.retried_job language plpgsql as $$
declare
    r biz.retried_job;
    j biz.ai_trigger_jobs;
    v_first bigint;
begin
    with recursive earlier (id, retry_of) as (
        select o.id, o.retry_of from biz.ai_trigger_jobs o where o.id = p_job and o.site_id = p_site
        union all
        select o.id, o.retry_of from earlier e join biz.ai_trigger_jobs o on o.id = e.retry_of and o.site_id = p_site
    )
    select e.id into v_first from earlier e where e.retry_of is null;
    perform from biz.ai_trigger_jobs where id = v_first and site_id = p_site for no key update;
    if not found then r.outcome := 'not_found'; return r; end if;

    select * into j from biz.ai_trigger_jobs where id = p_job and site_id = p_site;
    -- Its reply, or the message that there is none, is part of a conversation that may have gone on since: a
    -- second one would stand in the wrong place, and tell the bot's own session what it knows in another
    -- order. Who wrote the message sends it again.
    if j.message_id is not null then r.outcome := 'answered'; return r; end if;
    if exists (
        with recursive family (id, status) as (
            select o.id, o.status from biz.ai_trigger_jobs o where o.id = v_first and o.site_id = p_site
            union all
            select o.id, o.status from family f join biz.ai_trigger_jobs o on o.retry_of = f.id and o.site_id = p_site
        )
        select from family where status in ('pending', 'running'))
    then
        r.outcome := 'under_way';
        return r;
    end if;

    -- The apps before that step are not asked again while what they said holds: see biz.advance_job.
    insert into biz.ai_trigger_jobs (site_id, event_type, connector_type, trigger_type, member_id, payload, app_chain, step, is_forced, retry_of)
    values (p_site, j.event_type, 'admin_api', 'manual', j.member_id, j.payload, j.app_chain,
            case j.status when 'failed' then j.step else 0 end, true, j.id)
    returning id, step into r.id, j.step;
    perform biz.audit(p_site, p_user, 'trigger_job.retry', p_job::text, jsonb_build_object('id', r.id, 'step', j.step));
    r.outcome := 'retried';
    return r;
end $$;
comment on function biz.retry_job is 'Queues a job anew from the step that failed, unless it is under way';

create table biz.ai_batches (
    id uuid not null default gen_random_uuid() constraint ai_batches_pkey primary key,
    site_id bigint not null constraint ai_batches_site_id_fkey references biz.sites (id),
    app_types text[] not null,
    member_ids bigint[] not null,
    estimated_calls bigint not null,
    estimated_tokens bigint not null,
    expires_at timestamptz not null,
    confirmed_at timestamptz,
    cancelled_at timestamptz,
    created_by bigint not null,
    created_at timestamptz not null default clock_timestamp(),
    constraint ai_batches_calls_counted check (estimated_calls = cardinality(app_types) * cardinality(member_ids) and estimated_calls > 0)
);
create index ai_batches_site_idx on biz.ai_batches (site_id, created_at desc, id desc);
create index ai_batches_unconfirmed_idx on biz.ai_batches (expires_at) where confirmed_at is null;
comment on table biz.ai_batches is 'Apps asked about many members: what it would cost, and whether it was done';
comment on column biz.ai_batches.app_types is 'The chain of each job, in the order in which one rests on the other';
comment on column biz.ai_batches.expires_at is 'Until when it can be confirmed';
comment on column biz.ai_batches.created_by is 'The admin; not a foreign key, for it must outlive its user';

alter table biz.ai_trigger_jobs add constraint ai_trigger_jobs_batch_id_fkey foreign key (batch_id) references biz.ai_batches (id);
create index ai_trigger_jobs_batch_idx on biz.ai_trigger_jobs (batch_id) where batch_id is not null;
comment on column biz.ai_trigger_jobs.urgency is 'Higher goes first within a site: 1 where somebody waits, -1 where it is one of a batch';

create type biz.estimated_batch as (
    outcome text,
    batch_id uuid,
    estimated_calls bigint,
    estimated_tokens bigint,
    budget_left bigint,
    expires_at timestamptz
);
comment on type biz.estimated_batch is 'estimated; or not_found where there is no such site, unknown_members where one is not a member of it';

create function biz.estimate_batch(p_site bigint, p_user bigint, p_apps text[], p_members bigint[]) returns biz.estimated_batch
language plpgsql as $$
declare
    r biz.estimated_batch;
    v_today date;
begin
    select biz.local_day(s.timezone, clock_timestamp()) into v_today from biz.sites s where s.id = p_site;
    if not found then r.outcome := 'not_found'; return r; end if;
    -- It may be a view of the operator's, so nothing is known of its keys.
    if (select count(distinct p.member_id) from dws.member_profile p where p.site_id = p_site and p.member_id = any (p_members))
       < cardinality(p_members)
    then
        r.outcome := 'unknown_members';
        return r;
    end if;

    r.estimated_calls := cardinality(p_apps) * cardinality(p_members);
    select sum(ceil(cardinality(p_members) * coalesce(recent.average, 2000)))::bigint into r.estimated_tokens
    from unnest(p_apps) app (name) cross join lateral (
        select nullif(sum(u.tokens), 0) / nullif(sum(u.successes), 0) as average from biz.ai_usage_daily u
        where u.site_id = p_site and u.app_type = app.name and u.day > v_today - 30 and u.day <= v_today
    ) recent;
    r.budget_left := biz.tokens_left(p_site);
    insert into biz.ai_batches (site_id, app_types, member_ids, estimated_calls, estimated_tokens, expires_at, created_by)
    values (p_site, p_apps, p_members, r.estimated_calls, r.estimated_tokens, clock_timestamp() + interval '10 minutes', p_user)
    returning id, expires_at into r.batch_id, r.expires_at;
    perform biz.audit(p_site, p_user, 'batch.estimate', r.batch_id::text, jsonb_build_object(
        'app_types', p_apps, 'members', cardinality(p_members), 'estimated_tokens', r.estimated_tokens));
    r.outcome := 'estimated';
    return r;
end $$;
comment on function biz.estimate_batch is 'Remembers for ten minutes what was asked for, and what it would cost';

create type biz.confirmed_batch as (
    outcome text,
    jobs bigint
);
comment on type biz.confirmed_batch is 'confirmed, with the number of its jobs; else not_found, confirmed_before, cancelled, expired or over_budget';

create function biz.confirm_batch(p_site bigint, p_user bigint, p_batch uuid) returns biz.confirmed_batch language plpgsql as $$
declare
    r biz.confirmed_batch;
    b biz.ai_batches;
begin
    select * into b from biz.ai_batches where id = p_batch and site_id = p_site for no key update;
    r.outcome := case
        when b.id is null then 'not_found'
        when b.confirmed_at is not null then 'confirmed_before'
        when b.cancelled_at is not null then 'cancelled'
        when b.expires_at <= clock_timestamp() then 'expired'
        when b.estimated_tokens > biz.tokens_left(p_site) then 'over_budget'
        else 'confirmed' end;
    if r.outcome <> 'confirmed' then return r; end if;
    update biz.ai_batches set confirmed_at = clock_timestamp() where id = b.id and site_id = p_site;
    -- After whatever else the site has to do, for nobody waits for it.
    insert into biz.ai_trigger_jobs (site_id, event_type, connector_type, trigger_type, member_id, app_chain, is_forced, batch_id, urgency)
    select p_site, 'batch', 'batch', 'batch', m.id, b.app_types, true, b.id, -1
    from unnest(b.member_ids) with ordinality m (id, place) order by m.place;
    get diagnostics r.jobs = row_count;
    perform biz.audit(p_site, p_user, 'batch.confirm', b.id::text, jsonb_build_object('jobs', r.jobs, 'estimated_tokens', b.estimated_tokens));
    return r;
end $$;
comment on function biz.confirm_batch is 'Queues the jobs of an estimate, one for each member, once';

create function biz.batch_status(b biz.ai_batches) returns text language sql stable as $$
    select case
        when b.cancelled_at is not null then 'cancelled'
        when b.confirmed_at is not null then case when exists (
            select from biz.ai_trigger_jobs j
            where j.batch_id = b.id and j.site_id = b.site_id and j.status in ('pending', 'running')) then 'running' else 'done' end
        when b.expires_at <= clock_timestamp() then 'expired'
        else 'estimated' end
$$;
comment on function biz.batch_status is 'estimated, expired, running, done or cancelled';

create type biz.cancelled_batch as (
    status text,
    cancelled bigint
);
comment on type biz.cancelled_batch is 'How it stands now, and how many of its jobs are cancelled; nulls where there is none';

create function biz.cancel_batch(p_site bigint, p_user bigint, p_batch uuid) returns biz.cancelled_batch language plpgsql as $$
declare
    r biz.cancelled_batch;
    b biz.ai_batches;
begin
    select * into b from biz.ai_batches where id = p_batch and site_id = p_site for no key update;
    if not found then return r; end if;
    -- What is over stays as it was.
    if biz.batch_status(b) in ('estimated', 'running') then
        update biz.ai_batches set cancelled_at = clock_timestamp() where id = b.id and site_id = p_site returning * into b;
        update biz.ai_trigger_jobs set status = 'cancelled', finished_at = clock_timestamp()
        where batch_id = b.id and site_id = p_site and status = 'pending';
        get diagnostics r.cancelled = row_count;
        perform biz.audit(p_site, p_user, 'batch.cancel', b.id::text, jsonb_build_object('cancelled', r.cancelled));
    else
        select count(*) into r.cancelled from biz.ai_trigger_jobs
        where batch_id = b.id and site_id = p_site and status = 'cancelled';
    end if;
    r.status := biz.batch_status(b);
    return r;
end $$;
comment on function biz.cancel_batch is 'Takes back the jobs of a batch that are not running; the same answer however often it is asked';

create function biz.sweep_batches(p_limit integer default 1000) returns integer language plpgsql as $$
declare
    v_removed integer;
begin
    if not biz.take_sweep_lock() then return 0; end if;
    delete from biz.ai_batches where id = any (array(
        select id from biz.ai_batches where confirmed_at is null and expires_at < now() - interval '1 day'
        order by expires_at limit p_limit for update skip locked));
    get diagnostics v_removed = row_count;
    return v_removed;
end $$;
comment on function biz.sweep_batches is 'Forgets estimates that nobody confirmed, a day after they expired; says how many';
