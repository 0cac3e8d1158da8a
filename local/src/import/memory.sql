-- What the command has imported. Nothing else uses this schema: it may be dropped when the earlier
-- services are gone.
create schema if not exists parlor_import;
create table if not exists parlor_import.ids (
    service text not null,
    kind text not null,
    earlier_id text not null,
    new_id text not null,
    -- Values that have no place in Parlor.
    details jsonb,
    constraint ids_pkey primary key (service, kind, earlier_id)
);
comment on schema parlor_import is 'Memory of the command import';
comment on table parlor_import.ids is 'Rows of the earlier services that were imported';
