-- Runs as the owner of the schema: the role of the Lambda functions may not drop anything.
create function drop_function_schema(p_name text) returns void
language plpgsql security definer set search_path from current as $$
begin
    if p_name !~ '^parlor_[0-9a-f]{8}$'
        or exists (select from biz.function_schemas s where s.name = p_name)
    then
        raise exception '% is not an unused schema of functions', p_name;
    end if;
    execute format('drop schema if exists %I cascade', p_name);
end $$;

comment on function drop_function_schema is
    'Drops a schema of functions that is no longer in biz.function_schemas';
