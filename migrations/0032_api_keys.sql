-- Machine keys: programs of the operator call a few admin routes with them.
set local lock_timeout = '3s';
set local statement_timeout = '5s';

create domain biz.api_key_scope as text
    constraint api_key_scope_known check (value in ('jobs:write', 'usage:read'));
comment on domain biz.api_key_scope is 'What a machine key may call';

create table biz.api_keys (
    id bigint generated always as identity constraint api_keys_pkey primary key,
    site_id bigint constraint api_keys_site_id_fkey references biz.sites (id),
    name text not null,
    scopes biz.api_key_scope[] not null,
    hash bytea not null constraint api_keys_hash_key unique,
    hint text not null,
    created_by bigint not null,
    created_at timestamptz not null default clock_timestamp(),
    expires_at timestamptz,
    last_used_at timestamptz,
    constraint api_keys_scopes_given check (cardinality(scopes) > 0),
    constraint api_keys_hash_long check (octet_length(hash) = 32)
);
create index api_keys_site_idx on biz.api_keys (site_id, id desc);
comment on table biz.api_keys is 'Keys of programs, for a few admin routes. A revoked key has no row';
comment on column biz.api_keys.site_id is 'Null: all sites';
comment on column biz.api_keys.hash is
    'SHA-256 of the whole key. The key itself is not stored (docs/decisions/0029)';
comment on column biz.api_keys.hint is 'The last 4 characters of the key';
comment on column biz.api_keys.created_by is
    'The admin; not a foreign key, because the key may outlive its user';
comment on column biz.api_keys.last_used_at is 'Updated at most once a minute';

-- The previous release writes no such rows and does not read the column.
alter table biz.ai_admin_audit add column api_key_id bigint;
comment on column biz.ai_admin_audit.api_key_id is
    'The machine key that made the change; user_id is then the admin who created the key. Not a '
    'foreign key, because the row must outlive its key';
