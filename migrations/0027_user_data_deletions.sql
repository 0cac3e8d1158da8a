-- Deletion of all data of a user, in the background. The actions of the audit log are checked by
-- their form only, so that a new one needs no migration.

create table biz.user_data_deletions (
    id bigint generated always as identity constraint user_data_deletions_pkey primary key,
    site_id bigint not null constraint user_data_deletions_site_id_fkey references biz.sites (id),
    user_id bigint not null constraint user_data_deletions_user_id_fkey references biz.users (id),
    requested_by bigint not null,
    keep_disabled boolean not null,
    status_before text not null,
    requested_at timestamptz not null default clock_timestamp(),
    done_at timestamptz
);
create unique index user_data_deletions_open_key on biz.user_data_deletions (user_id)
    where done_at is null;
comment on table biz.user_data_deletions is
    'Requests of admins to delete all texts of a user; the sweep executes them in steps';
comment on column biz.user_data_deletions.requested_by is
    'The admin; not a foreign key, because the row must outlive its user';
comment on column biz.user_data_deletions.keep_disabled is
    'True if the user remains disabled when everything is deleted';
comment on column biz.user_data_deletions.status_before is
    'Status of the user before the request disabled it';

alter table biz.ai_admin_audit
    drop constraint ai_admin_audit_action_known,
    add constraint ai_admin_audit_action_form check (action ~ '^[a-z_]+\.[a-z_]+$');
