-- Only the newest valid result of a target stays valid. `<period>` and `<period>:all` are one
-- target.
select t.id::text, row_to_json(t)::text
from (
    select r.*, row_number() over (
               partition by r.site_id, r.cache_type, regexp_replace(r.target_id::text, ':all$', '')
               order by r.created_at desc, r.id desc) = 1 as is_newest
    from ai_cache r
    where coalesce(nullif(r.status, ''), 'valid') = 'valid' and $1::jsonb is not null
    union all
    select r.*, false from ai_cache r where coalesce(nullif(r.status, ''), 'valid') <> 'valid'
) t
order by t.id
