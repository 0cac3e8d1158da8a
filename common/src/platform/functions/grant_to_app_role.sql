create function grant_to_app_role(p_role text) returns void language plpgsql as $$
declare
    v_schema text;
begin
    execute format('grant usage on schema biz to %I', p_role);
    execute format(
        'grant select, insert, update, delete on all tables in schema biz to %I', p_role);
    execute format('grant usage on all sequences in schema biz to %I', p_role);
    -- Also the schemas of earlier builds, which run during a canary and after a rollback.
    for v_schema in
        select s.name from biz.function_schemas s where to_regnamespace(s.name) is not null
    loop
        execute format('grant usage on schema %I to %I', v_schema, p_role);
        -- Views. Everybody may execute functions.
        execute format('grant select on all tables in schema %I to %I', v_schema, p_role);
    end loop;
    begin
        execute format('grant usage on schema dws to %I', p_role);
        execute format('grant select on all tables in schema dws to %I', p_role);
    exception
        -- The tables of dws may have been there before, with another owner, who grants instead.
        when insufficient_privilege then null;
    end;
end $$;

comment on function grant_to_app_role is
    'Grants a role what the Lambda functions need: rows of biz, reading of dws, SQL functions';
