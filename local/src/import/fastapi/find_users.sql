select f.user_id::text, f.site_id::bigint,
       case when f.user_id::text ~ '^[1-9][0-9]{0,17}$' then f.user_id::text::bigint end,
       u.row ->> 'nickname', u.row ->> 'role', u.row ->> 'status'
from (
    select c.user_id, c.site_id from ai_conversations c
    where c.user_id is not null group by c.user_id, c.site_id
) f
left join (select row_to_json(u) as row from users u) u on u.row ->> 'id' = f.user_id::text
order by f.site_id, f.user_id
