-- The desk: admins cancel running jobs, and viewers read without changing anything.

alter table biz.ai_trigger_jobs add column cancel_requested_at timestamptz;
comment on column biz.ai_trigger_jobs.cancel_requested_at is
    'When an admin cancelled the running job; it ends after its step';

-- A viewer reads the desk of a site, without prompts and answers.
alter table biz.users
    drop constraint users_role_known,
    add constraint users_role_known
        check (role in ('viewer', 'coach', 'staff', 'manager', 'site_admin', 'admin'));
