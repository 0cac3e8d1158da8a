-- The last messages from before they were kept. Of a reply that is being made nothing is known before its end.
update biz.ai_conversations c set
    (last_message_id, last_message_role, last_message_preview, last_message_at) = (
        select m.id, m.role, left(m.content, 100), m.created_at from biz.ai_messages m
        where m.conversation_id = c.id and m.site_id = c.site_id and m.content <> '' and m.state <> 'streaming'
        order by m.seq desc limit 1)
where c.message_count > 0 and c.last_message_id is null;
