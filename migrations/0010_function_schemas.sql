-- Schemas of functions. Each build has its own (docs/decisions/0019).
create table biz.function_schemas (
    name text constraint function_schemas_pkey primary key,
    loaded_at timestamptz not null default clock_timestamp(),
    constraint function_schemas_name_known check (name ~ '^parlor_[0-9a-f]{8}$')
);
comment on table biz.function_schemas is
    'Schemas of functions, one per deployed build; the sweep drops old ones';
comment on column biz.function_schemas.loaded_at is
    'When db-migrate last deployed the build';
