select c.user_id::text, c.site_id::bigint,
       case when c.user_id::text ~ '^[1-9][0-9]{0,17}$' then c.user_id::text::bigint end,
       null::text, null::text, null::text
from ai_conversations c
where c.user_id is not null
group by c.user_id, c.site_id
order by c.site_id, c.user_id
