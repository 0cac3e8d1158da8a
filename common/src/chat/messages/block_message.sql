-- Locks: conversation, message. A message that is not streaming has no other writer.
create function block_message(p_site bigint, p_message bigint, p_blocked boolean)
returns text language plpgsql as $$
declare
    c biz.ai_conversations;
    m biz.ai_messages;
    v_text text;
begin
    select v.* into c from biz.ai_conversations v
    where v.id = (
        select a.conversation_id from biz.ai_messages a
        where a.id = p_message and a.site_id = p_site)
    for no key update;
    if not found then return 'not_found'; end if;
    update biz.ai_messages set blocked_at = case when p_blocked then clock_timestamp() end
    where id = p_message and site_id = p_site and state <> 'streaming'
      and (blocked_at is not null) <> p_blocked
    returning * into m;
    if not found then
        return case when exists (
            select from biz.ai_messages a
            where a.id = p_message and a.site_id = p_site and a.state = 'streaming')
        then 'busy' else 'unchanged' end;
    end if;

    v_text := visible_text(m.content, m.blocked_at);
    update biz.ai_conversations set
        -- DashScope's session has the text. A reply in progress compares the time, and does not
        -- store its session either (finish_reply).
        dashscope_session_id = null,
        dashscope_session_at = clock_timestamp(),
        last_message_preview = case when last_message_id = m.id
            then left(v_text, 100) else last_message_preview end,
        -- A title that nobody has set is the beginning of the first message.
        title = case when m.seq = 1
            and title in (left(m.content, 30), visible_text(m.content, clock_timestamp()))
            then left(v_text, 30) else title end
    where id = c.id and site_id = p_site;
    return 'changed';
end $$;

comment on function block_message is
    'Blocks or unblocks a message: changed, unchanged, not_found, or busy while its reply is made';
