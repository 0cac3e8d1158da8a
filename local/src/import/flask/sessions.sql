-- Sessions with their messages. Of two messages of the same time, the question is first.
select s.id::text as chat_id,
       case when s.id is not null and row_number() over (
           partition by s.id order by m.created_at, m.sender_type is distinct from 'user', m.id) = 1
           then row_to_json(s)::text end as chat,
       m.id::text as message_id,
       case when m.id is not null then row_to_json(m)::text end as message
from sessions s full join messages m on m.session_id::text = s.id::text
where $1::jsonb is not null
order by s.id, m.created_at, m.sender_type is distinct from 'user', m.id
