create function sweep_replies(p_limit integer default 200) returns integer
language plpgsql as $$
declare
    v_message bigint;
    v_ended integer := 0;
begin
    if not take_sweep_lock() then return 0; end if;
    for v_message in
        select m.id from biz.ai_messages m
        where m.state = 'streaming' and m.lease_until < now()
        order by m.lease_until limit p_limit
    loop
        v_ended := v_ended + finish_orphaned_reply(v_message)::integer;
    end loop;
    return v_ended;
end $$;

comment on function sweep_replies is 'Ends replies whose lease has expired; returns how many';
