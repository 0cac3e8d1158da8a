-- Computes the counters of conversations from their messages. $2 is the number of unread replies.
update biz.ai_conversations c set
    message_count = n.messages,
    last_message_id = l.id,
    last_message_role = l.role,
    last_message_preview = left(l.content, 100),
    last_message_at = l.created_at,
    last_active_at = n.last_at,
    dashscope_session_at = case when c.dashscope_session_id is not null then n.last_at end,
    dashscope_session_rounds = n.messages / 2,
    read_seq = coalesce(u.first_unread - 1, n.messages),
    unread_count = coalesce(u.replies, 0),
    updated_at = clock_timestamp()
from unnest($1::bigint[], $2::bigint[]) as t (id, unread)
cross join lateral (
    select m.seq as messages, m.created_at as last_at from biz.ai_messages m
    where m.conversation_id = t.id and m.seq > 0 order by m.seq desc limit 1
) n
left join lateral (
    select m.id, m.role, m.content, m.created_at from biz.ai_messages m
    where m.conversation_id = t.id and m.seq > 0 and m.content <> '' order by m.seq desc limit 1
) l on true
left join lateral (
    select min(r.seq) as first_unread, count(*) as replies from (
        select m.seq from biz.ai_messages m
        where m.conversation_id = t.id and m.seq > 0 and m.role = 'assistant'
        order by m.seq desc limit t.unread
    ) r
) u on true
where c.id = t.id
