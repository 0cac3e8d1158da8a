-- Conversations with their messages. The newest conversation about a task or a board keeps its
-- subject. Tokens are those of the run that made the text, if it is known: the only successful
-- run of the same site and session with this text.
select c.id::text as chat_id,
       case when c.id is not null and row_number() over (partition by c.id order by m.created_at, m.id) = 1
           then row_to_json(c)::text end as chat,
       m.id::text as message_id,
       case when m.id is not null then (
           select row_to_json(t)::text from (select m.*, r.tokens_used as tokens_of_run) t) end as message
from (
    select c.*, row_number() over (
               partition by c.site_id, c.user_id, c.context_type, c.context_id,
                   case c.context_type when 'board' then
                       (c.created_at::timestamptz at time zone coalesce($1::jsonb ->> c.site_id::text, 'UTC'))::date end
               order by c.created_at desc, c.id desc) > 1 as is_duplicate
    from ai_conversations c
) c
full join ai_messages m on m.conversation_id::text = c.id::text
left join (
    select r.site_id::text as site_id, r.session_id::text as session_id, md5(r.response_text) as text,
           min(r.tokens_used) as tokens_used
    from ai_run_logs r
    where r.session_id is not null and r.response_text <> '' and r.status = 'success'
    group by 1, 2, 3
    having count(*) = 1
) r on r.site_id = c.site_id::text and r.session_id = c.session_id::text and r.text = md5(m.content)
   and m.role = 'assistant'
order by c.id, m.created_at, m.id
