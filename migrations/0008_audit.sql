-- Audit log of changes by admins.
create table biz.ai_admin_audit (
    id bigint generated always as identity constraint ai_admin_audit_pkey primary key,
    site_id bigint not null constraint ai_admin_audit_site_id_fkey references biz.sites (id),
    user_id bigint not null,
    action text not null,
    object_id text,
    details jsonb not null default '{}',
    created_at timestamptz not null default clock_timestamp(),
    constraint ai_admin_audit_action_known check (action in (
        'budget.set', 'runtime_context.set', 'alert.acknowledge', 'alert.ignore',
        'trigger_job.create', 'trigger_job.retry', 'batch.estimate', 'batch.confirm',
        'batch.cancel', 'cache.invalidate'))
);
create index ai_admin_audit_site_idx on biz.ai_admin_audit (site_id, created_at desc, id desc);
create index ai_admin_audit_created_idx on biz.ai_admin_audit (created_at desc, id desc);
comment on table biz.ai_admin_audit is
    'Changes by admins, written in the transaction of the change';
comment on column biz.ai_admin_audit.user_id is
    'The admin; not a foreign key, because the row must outlive its user';
comment on column biz.ai_admin_audit.object_id is
    'The run, job or batch that was changed, if there is one';
comment on column biz.ai_admin_audit.details is 'Parameters and result of the change';
