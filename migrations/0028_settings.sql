-- What admins set up by the API: the audit log also has changes that concern all sites.

-- The releases before this one do not read rows without a site: they list by site.
-- squawk-ignore ban-drop-not-null
alter table biz.ai_admin_audit alter column site_id drop not null;
comment on column biz.ai_admin_audit.site_id is 'Null: a change that concerns all sites';
-- Finds them.
create index ai_admin_audit_all_sites_idx on biz.ai_admin_audit (created_at desc, id desc)
    where site_id is null;
