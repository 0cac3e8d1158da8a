-- Background jobs, and batches of jobs that an admin requests.

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
    constraint ai_batches_calls_counted check (
        estimated_calls = cardinality(app_types) * cardinality(member_ids)
        and estimated_calls > 0)
);
create index ai_batches_site_idx on biz.ai_batches (site_id, created_at desc, id desc);
create index ai_batches_unconfirmed_idx on biz.ai_batches (expires_at) where confirmed_at is null;
comment on table biz.ai_batches is
    'Batches: apps to call for many members, with the estimated cost and the confirmation';
comment on column biz.ai_batches.app_types is
    'The chain of each job; an app is after those whose results it reads';
comment on column biz.ai_batches.expires_at is 'The estimate can be confirmed until then';
comment on column biz.ai_batches.created_by is
    'The admin; not a foreign key, because the row must outlive its user';

-- The queue. This table is the only record of a job; an SQS message only wakes a worker.
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
    batch_id uuid constraint ai_trigger_jobs_batch_id_fkey references biz.ai_batches (id),
    retry_of bigint constraint ai_trigger_jobs_retry_of_fkey references biz.ai_trigger_jobs (id),
    error_code text,
    error_message text,
    created_at timestamptz not null default now(),
    started_at timestamptz,
    finished_at timestamptz,
    urgency smallint not null default 0,
    message_id bigint,
    conversation_id bigint,
    constraint ai_trigger_jobs_event_type_known check (event_type in (
        'consumption.settled', 'note.created', 'task.assigned', 'etl.finished', 'prewarm',
        'chat.session_message', 'batch')),
    constraint ai_trigger_jobs_connector_type_known check (connector_type in (
        'event_bus', 'admin_api', 'schedule', 'command', 'job', 'session_api', 'batch')),
    constraint ai_trigger_jobs_trigger_type_known
        check (trigger_type in ('session', 'event', 'prewarm', 'batch', 'manual')),
    constraint ai_trigger_jobs_status_known check (status in (
        'pending', 'running', 'succeeded', 'failed', 'skipped_duplicate', 'cancelled')),
    constraint ai_trigger_jobs_running_is_leased
        check ((status = 'running') = (lease_until is not null)),
    constraint ai_trigger_jobs_step_in_chain check (step between 0 and cardinality(app_chain))
) with (fillfactor = 70);
comment on table biz.ai_trigger_jobs is
    'Background jobs: an event and the chain of apps that follows it';
comment on column biz.ai_trigger_jobs.connector_type is 'The way in which the job was requested';
comment on column biz.ai_trigger_jobs.trigger_type is 'The trigger_type of its runs';
comment on column biz.ai_trigger_jobs.step is 'Number of steps of the chain that are done';
comment on column biz.ai_trigger_jobs.attempts is
    'Number of tries; a try that only had to wait is not counted';
comment on column biz.ai_trigger_jobs.claims is
    'Increased by each claim, so that a worker with an earlier claim cannot write';
comment on column biz.ai_trigger_jobs.event_id is
    'Id from the event bus; a repeated delivery has the same id';
comment on column biz.ai_trigger_jobs.dedup_key is 'Business date, event, member and subject';
comment on column biz.ai_trigger_jobs.duplicate_of is
    'skipped_duplicate: the job with the same key';
comment on column biz.ai_trigger_jobs.urgency is
    'Higher runs first within a site: 1 if a user waits, -1 for a batch, otherwise 0';
comment on column biz.ai_trigger_jobs.message_id is
    'chat.session_message: the message that needs a reply';
comment on column biz.ai_trigger_jobs.conversation_id is
    'chat.session_message: the conversation; its messages get replies in order';

-- The same event on the same business date has one job, unless that job failed or was cancelled.
-- A prewarm only counts while it is pending or running, because its results may be invalidated and
-- needed again on the same day.
create unique index ai_trigger_jobs_dedup_key on biz.ai_trigger_jobs (site_id, dedup_key)
    where not is_forced and (
        status in ('pending', 'running') or (status = 'succeeded' and event_type <> 'prewarm'));
create unique index ai_trigger_jobs_event_id_key on biz.ai_trigger_jobs (site_id, event_id);
create index ai_trigger_jobs_due_idx
    on biz.ai_trigger_jobs (site_id, urgency desc, run_after, id)
    where status = 'pending';
create index ai_trigger_jobs_lease_idx on biz.ai_trigger_jobs (lease_until)
    where status = 'running';
-- Finds the unfinished jobs of a conversation in the order of its messages.
create index ai_trigger_jobs_conversation_idx on biz.ai_trigger_jobs (conversation_id, message_id)
    where conversation_id is not null and status in ('pending', 'running');
-- Lists of the admin API: all jobs of a site, and those of one event type and status.
create index ai_trigger_jobs_site_idx on biz.ai_trigger_jobs (site_id, created_at desc, id desc);
create index ai_trigger_jobs_kind_idx
    on biz.ai_trigger_jobs (site_id, event_type, status, created_at desc, id desc);
create index ai_trigger_jobs_skipped_idx on biz.ai_trigger_jobs (created_at, site_id)
    where status = 'skipped_duplicate';
create index ai_trigger_jobs_retry_of_idx on biz.ai_trigger_jobs (retry_of)
    where retry_of is not null;
create index ai_trigger_jobs_batch_idx on biz.ai_trigger_jobs (batch_id)
    where batch_id is not null;

create table biz.ai_job_turns (
    site_id bigint not null
        constraint ai_job_turns_pkey primary key
        constraint ai_job_turns_site_id_fkey references biz.sites (id),
    claimed_at timestamptz not null
) with (fillfactor = 50);
comment on table biz.ai_job_turns is
    'When a job of a site was last claimed, so that sites alternate, however long their queues are';
