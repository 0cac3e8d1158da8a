-- As before, but for the last message, which is looked up: who is counted has been written.
create function count_messages(c biz.ai_conversations, p_count integer, p_content text, p_unread integer) returns void
language plpgsql as $$
declare
    v_now timestamptz := clock_timestamp();
begin
    update biz.ai_conversations v set
        message_count = c.message_count + p_count,
        unread_count = c.unread_count + p_unread,
        title = coalesce(c.title, left(p_content, 30)),
        (last_message_id, last_message_role, last_message_preview, last_message_at) = (
            select m.id, m.role, left(m.content, 100), m.created_at from biz.ai_messages m
            where m.conversation_id = c.id and m.site_id = c.site_id and m.content <> '' order by m.seq desc limit 1),
        last_active_at = v_now,
        updated_at = v_now
    where v.id = c.id and v.site_id = c.site_id;
    if c.message_count = 0 then
        update biz.users set listed_conversations = listed_conversations + 1 where id = c.user_id and site_id = c.site_id;
    end if;
end $$;

comment on function count_messages is
    'Counts messages that were added to a conversation that the caller has locked; p_content is what a conversation without a title is named after';
