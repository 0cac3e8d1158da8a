-- Runs, each with the only conversation of its session.
select t.id::text, row_to_json(t)::text
from (
    select r.*, c.id as chat_id
    from ai_run_logs r
    left join (
        select c.site_id::text as site_id, c.session_id::text as session_id, min(c.id) as id
        from ai_conversations c where c.session_id is not null
        group by 1, 2 having count(*) = 1
    ) c on c.site_id = r.site_id::text and c.session_id = r.session_id::text
    -- The parameter of all such statements; runs need no time zone.
    where $1::jsonb is not null
) t
order by t.id
