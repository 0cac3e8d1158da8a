-- DashScope accepts 100 calls of an application in a second. The row is locked until the caller
-- commits. The callers wait for nothing else after that but the usage rows of their site.
create function take_call(p_app_id text, p_max_per_second integer) returns timestamptz
language plpgsql as $$
declare
    v_most integer := least(100, p_max_per_second);
begin
    insert into biz.ai_app_calls as c (app_id, called_at)
    values (p_app_id, array[clock_timestamp()])
    on conflict on constraint ai_app_calls_pkey do update
        set called_at = (array_prepend(clock_timestamp(), c.called_at))[:100]
        where coalesce(c.called_at[v_most] <= clock_timestamp() - interval '1 second', true);
    if found then return null; end if;
    return (select c.called_at[v_most] + interval '1 second' from biz.ai_app_calls c
            where c.app_id = p_app_id);
end $$;

comment on function take_call is
    'Counts a call of an application and returns null, or returns when the next one may begin if '
    'the last second had p_max_per_second (null: 100) calls';
