-- The first lock of a day, as in finish_run.
insert into biz.ai_usage_days as u (site_id, day, tokens, cost)
select r.site_id, r.local_day, sum(r.tokens_charged), 0
from jsonb_to_recordset($1) as n (id bigint, created_at timestamptz)
join biz.ai_run_logs r on r.id = n.id and r.created_at = n.created_at
group by r.site_id, r.local_day
order by r.site_id, r.local_day
on conflict on constraint ai_usage_days_pkey do update set tokens = u.tokens + excluded.tokens
