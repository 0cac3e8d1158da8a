-- Not `security definer`: PostgreSQL shows a role the `application_name` of its own connections
-- only. The owner would see no connection of the functions, and drop schemas that are in use.
create function drop_unused_functions(p_current text, p_kept integer, p_days integer)
returns integer language plpgsql set lock_timeout = '500ms' as $$
declare
    v_name text;
    v_before timestamptz := clock_timestamp() - make_interval(days => p_days);
    v_dropped integer := 0;
begin
    if not take_sweep_lock() then return 0; end if;
    for v_name in
        select s.name
        from (select name, loaded_at, row_number() over (order by loaded_at desc, name) as place
              from biz.function_schemas) s
        where s.name <> p_current and s.place > p_kept
          and s.loaded_at < v_before
          -- Each connection sets `application_name` to the schema of its build.
          and not exists (select from pg_stat_activity a
                          where a.datname = current_database() and a.application_name = s.name)
    loop
        -- Delete the row first. If the build is deployed again at this moment, it either keeps its
        -- schema, or waits for this row and loads the schema again.
        delete from biz.function_schemas where name = v_name and loaded_at < v_before;
        continue when not found;
        perform drop_function_schema(v_name);
        v_dropped := v_dropped + 1;
    end loop;
    return v_dropped;
exception
    -- One of the functions is in use. The next sweep tries again.
    when lock_not_available then return 0;
end $$;

comment on function drop_unused_functions is
    'Drops the functions of builds that are no longer used; returns how many schemas were dropped';
