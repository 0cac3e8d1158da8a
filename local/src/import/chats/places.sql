-- Locks the conversations, so that no message is added before the batch is written.
select c.id, c.site_id, c.user_id, c.message_count::bigint as message_count,
       (select m.id from biz.ai_messages m
        where m.conversation_id = c.id and m.seq = c.message_count and m.role = 'user') as question
from biz.ai_conversations c where c.id = any($1) for no key update
