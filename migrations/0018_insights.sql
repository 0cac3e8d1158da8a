-- Insights: staff read the results of the apps and request missing ones.

alter table biz.ai_trigger_jobs drop constraint ai_trigger_jobs_event_type_known;
alter table biz.ai_trigger_jobs add constraint ai_trigger_jobs_event_type_known check (event_type in (
    'consumption.settled', 'note.created', 'task.assigned', 'etl.finished', 'prewarm',
    'chat.session_message', 'batch', 'insight.refresh'));
alter table biz.ai_trigger_jobs drop constraint ai_trigger_jobs_connector_type_known;
alter table biz.ai_trigger_jobs add constraint ai_trigger_jobs_connector_type_known check (connector_type in (
    'event_bus', 'admin_api', 'schedule', 'command', 'job', 'session_api', 'batch', 'insights_api'));

-- An insight may be requested again on the same day, like a prewarm: its result may be invalidated.
drop index biz.ai_trigger_jobs_dedup_key;
create unique index ai_trigger_jobs_dedup_key on biz.ai_trigger_jobs (site_id, dedup_key)
    where not is_forced and (
        status in ('pending', 'running')
        or (status = 'succeeded' and event_type not in ('prewarm', 'insight.refresh')));

alter table biz.ai_trigger_jobs add column requested_by bigint;
comment on column biz.ai_trigger_jobs.requested_by is
    'insight.refresh: the user; not a foreign key, because the row must outlive its user';
-- Counts the requests of a user in the last minute.
create index ai_trigger_jobs_requested_idx on biz.ai_trigger_jobs (requested_by, created_at)
    where requested_by is not null;

alter table biz.ai_cache add column prompt_version text;
comment on column biz.ai_cache.prompt_version is 'Version of the prompt of its run';

create table biz.ai_result_failures (
    site_id bigint not null
        constraint ai_result_failures_site_id_fkey references biz.sites (id),
    cache_type text not null,
    target_id text not null,
    job_id bigint not null,
    error_code text,
    failed_at timestamptz not null default clock_timestamp(),
    constraint ai_result_failures_pkey primary key (site_id, cache_type, target_id)
);
comment on table biz.ai_result_failures is
    'Targets whose last job failed; the row is deleted when a result is stored or requested again';
comment on column biz.ai_result_failures.cache_type is 'Name of the app';
comment on column biz.ai_result_failures.target_id is 'As in biz.ai_cache';
