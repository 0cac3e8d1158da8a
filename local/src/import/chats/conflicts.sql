select n.place, n.has_key, n.has_public_id
from (
    select n.place - 1 as place,
           exists (
               select from biz.ai_conversations c
               where c.site_id = (n.chat ->> 'site_id')::bigint
                 and c.user_id = (n.chat ->> 'user_id')::bigint
                 and c.context_type = n.chat ->> 'context_type'
                 and c.context_id = n.chat ->> 'context_id'
                 and (c.context_type = 'task' or c.context_type = 'board' and c.business_date
                      = local_day(s.timezone, (n.chat ->> 'created_at')::timestamptz))) as has_key,
           exists (
               select from biz.ai_conversations c
               where c.public_id = (n.chat ->> 'public_id')::uuid) as has_public_id
    from jsonb_array_elements($1) with ordinality as n (chat, place)
    join biz.sites s on s.id = (n.chat ->> 'site_id')::bigint
) n
where n.has_key or n.has_public_id
