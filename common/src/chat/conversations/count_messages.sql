-- The caller has locked the conversation and passes the newest message that has text. Because of
-- the lock, no other session can have added a newer one.
create function count_messages(
    p_site bigint,
    p_conversation bigint,
    p_messages integer,
    p_message bigint,
    p_role text,
    p_content text,
    p_at timestamptz,
    p_unread integer,
    p_read boolean
) returns void language plpgsql as $$
declare
    v_count bigint;
    v_user bigint;
begin
    update biz.ai_conversations c set
        message_count = c.message_count + p_messages,
        unread_count = case when p_read then 0 else c.unread_count + p_unread end,
        read_seq = case when p_read then c.message_count + p_messages else c.read_seq end,
        title = coalesce(c.title, left(p_content, 30)),
        last_message_id = case p_content when '' then c.last_message_id else p_message end,
        last_message_role = case p_content when '' then c.last_message_role else p_role end,
        last_message_preview =
            case p_content when '' then c.last_message_preview else left(p_content, 100) end,
        last_message_at = case p_content when '' then c.last_message_at else p_at end,
        last_active_at = p_at,
        updated_at = p_at
    where c.id = p_conversation and c.site_id = p_site
    returning c.message_count, c.user_id into v_count, v_user;
    if v_count = p_messages then
        update biz.users set listed_conversations = listed_conversations + 1
        where id = v_user and site_id = p_site;
    end if;
end $$;

comment on function count_messages is
    'Updates the counters and the last message of a conversation after p_messages were added. The '
    'caller holds its lock. p_message: the newest message with text; p_read: the user has read all';
