create function finish_orphaned_reply(p_message bigint) returns boolean language plpgsql as $$
declare
    m biz.ai_messages;
    l biz.ai_run_logs;
    e run_end;
    v_text text;
begin
    -- A locked reply is being ended by another session, or is still alive. Skip it.
    select * into m from biz.ai_messages
    where id = p_message and state = 'streaming' and lease_until < clock_timestamp()
    for no key update skip locked;
    if not found then return false; end if;
    -- Do not wait for the conversation either. The session that locks it may wait for the usage row
    -- of a site, which this transaction may have written for another reply: a deadlock.
    perform 1 from biz.ai_conversations
    where id = m.conversation_id and site_id = m.site_id for no key update skip locked;
    if not found then return false; end if;
    v_text := reply_text(m);
    select * into l from biz.ai_run_logs
    where message_id = m.id and site_id = m.site_id and status = 'running' and created_at >= m.created_at;
    e.status := 'failed';
    e.unknown_tries := 1;
    e.session_lost := false;
    e.prompt_version := l.prompt_version;
    e.latency_ms := (extract(epoch from clock_timestamp() - m.created_at) * 1000)::bigint;
    e.attempts := l.attempts;
    e.error_code := 'interrupted';
    e.error_message := 'the function that made the reply was killed';
    e.circuit := 'neither';
    return (finish_reply(
        p_site => m.site_id, p_message => m.id, p_run => l.id, p_run_at => l.created_at,
        p_state => case v_text when '' then 'failed' else 'interrupted' end,
        p_saved_chars => char_length(v_text), p_unsaved => '', p_is_cut => null,
        p_card => null, p_end => to_jsonb(e))).applied;
end $$;

comment on function finish_orphaned_reply is
    'Ends a reply whose lease has expired: keeps its text, settles its run. False if it is alive '
    'or locked';
