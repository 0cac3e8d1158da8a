-- What admins do at the desk: cancel running jobs, and change jobs in bulk.

alter table biz.ai_trigger_jobs add column cancel_requested_at timestamptz;
comment on column biz.ai_trigger_jobs.cancel_requested_at is
    'When an admin cancelled the running job; it ends after its step';

alter table biz.ai_admin_audit
    drop constraint ai_admin_audit_action_known,
    add constraint ai_admin_audit_action_known check (action in (
        'budget.set', 'runtime_context.set', 'alert.acknowledge', 'alert.ignore',
        'trigger_job.create', 'trigger_job.retry', 'trigger_job.cancel',
        'trigger_job.run_now', 'batch.estimate', 'batch.confirm', 'batch.cancel',
        'cache.invalidate', 'message.block', 'message.unblock', 'report.resolve', 'price.set',
        'trigger_jobs.retry', 'trigger_jobs.cancel', 'prewarm.queue'));
