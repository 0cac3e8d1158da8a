-- Circuits by application id, and what a pending job waits for.

alter table biz.ai_run_logs add column app_id text;
comment on column biz.ai_run_logs.app_id is
    'Id of the DashScope application that the run calls; null in older rows';

-- A bot has its own application, but all chats have the same app_type. The earlier rows do not say
-- which application failed, so they are closed. The default keeps the previous release working: all
-- its circuits are one row, which this release does not read.
alter table biz.ai_circuits add column app_id text not null default '';
update biz.ai_circuits set
    app_id = app_type, state = 'closed', failures = 0, opened_at = null, open_seconds = 60,
    retry_at = null, probe_run_id = null;
alter table biz.ai_circuits
    drop constraint ai_circuits_pkey,
    add constraint ai_circuits_pkey primary key (app_id);
comment on table biz.ai_circuits is
    'Circuit breakers of the DashScope applications, shared by all function instances';
comment on column biz.ai_circuits.app_id is 'Id of the DashScope application';
comment on column biz.ai_circuits.app_type is 'The app that opened the circuit, for the dashboard';

create domain biz.job_wait as text
    constraint job_wait_known check (value in ('budget', 'circuit', 'result', 'reply', 'retry'));
comment on domain biz.job_wait is
    'What a pending job waits for: room in the budget, a circuit, the result or reply that another '
    'function makes, or its next try';

alter table biz.ai_trigger_jobs
    add column waits_for biz.job_wait,
    add column waits_on text;
comment on column biz.ai_trigger_jobs.waits_for is
    'pending: why the job must wait until run_after; null if it only waits for a worker';
comment on column biz.ai_trigger_jobs.waits_on is
    'waits_for = circuit: the application id of the circuit';
create index ai_trigger_jobs_waiting_idx on biz.ai_trigger_jobs (waits_for, site_id, id)
    where status = 'pending' and waits_for is not null;

alter table biz.ai_admin_audit
    drop constraint ai_admin_audit_action_known,
    add constraint ai_admin_audit_action_known check (action in (
        'budget.set', 'runtime_context.set', 'alert.acknowledge', 'alert.ignore',
        'trigger_job.create', 'trigger_job.retry', 'trigger_job.cancel',
        'trigger_job.run_now', 'batch.estimate', 'batch.confirm', 'batch.cancel',
        'cache.invalidate'));
