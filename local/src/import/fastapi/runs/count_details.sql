-- The model of these runs is not known.
insert into biz.ai_usage_details as u (
    site_id, day, user_id, bot_id, model_id, calls, successes, failures, tokens_in, tokens_out,
    tokens, cost, unpriced_calls)
select r.site_id, r.local_day, r.user_id, r.bot_id, null, count(*),
       count(*) filter (where r.status in ('success', 'stopped')),
       count(*) filter (where r.status not in ('success', 'stopped')),
       0, 0, sum(r.tokens_charged), 0, count(*)
from jsonb_to_recordset($1) as n (id bigint, created_at timestamptz)
join biz.ai_run_logs r on r.id = n.id and r.created_at = n.created_at
where r.status <> 'circuit_open'
group by r.site_id, r.local_day, r.user_id, r.bot_id
order by r.site_id, r.local_day, r.user_id, r.bot_id
on conflict on constraint ai_usage_details_key do update set
    calls = u.calls + excluded.calls,
    successes = u.successes + excluded.successes,
    failures = u.failures + excluded.failures,
    tokens = u.tokens + excluded.tokens,
    unpriced_calls = u.unpriced_calls + excluded.unpriced_calls
