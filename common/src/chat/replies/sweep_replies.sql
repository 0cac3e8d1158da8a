create type swept_rows as (
    done integer,
    skipped text[]
);

comment on type swept_rows is
    'done: number of changed rows. skipped: rows that could not be changed, each as id and SQLSTATE';

create function sweep_replies(p_limit integer default 200) returns swept_rows
language plpgsql as $$
declare
    r swept_rows := (0, '{}');
    v_site bigint;
    v_message bigint;
begin
    if not take_sweep_lock() then return r; end if;
    -- Rows that cannot be ended come first in each sweep, because their leases are the oldest. So
    -- they do not count against the limit.
    for v_message in
        select m.id from biz.ai_messages m
        where m.state = 'streaming' and m.lease_until < now()
        order by m.lease_until limit 5 * p_limit
    loop
        exit when r.done >= p_limit;
        begin
            r.done := r.done + finish_orphaned_reply(v_message)::integer;
        exception when others then
            r.skipped := r.skipped || concat_ws(' ', v_message, sqlstate);
        end;
    end loop;
    -- The state is read by a subquery for each reply, so that no plan reads all messages.
    for v_site, v_message in
        select s.site_id, s.message_id
        from (select distinct l.site_id, l.message_id from biz.ai_reply_segments l) s
        where coalesce((select m.state <> 'streaming' from biz.ai_messages m
                        where m.id = s.message_id and m.site_id = s.site_id), true)
        limit p_limit
    loop
        begin
            r.done := r.done + fold_left_segments(v_site, v_message)::integer;
        exception when others then
            r.skipped := r.skipped || concat_ws(' ', v_message, sqlstate);
        end;
    end loop;
    return r;
end $$;

comment on function sweep_replies is
    'Ends replies whose lease has expired, and restores texts that an older build left behind. A '
    'reply that cannot be ended is skipped';
