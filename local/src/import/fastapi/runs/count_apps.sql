-- A run that the circuit refused is no call. It only sets the last status.
insert into biz.ai_usage_daily as u (
    site_id, day, app_type, calls, successes, failures, tokens, unpriced_calls, latency_sum_ms,
    latency_max_ms, latency_buckets, last_status, last_call_at)
select r.site_id, r.local_day, r.app_type,
       count(*) filter (where r.is_call),
       count(*) filter (where r.is_good),
       count(*) filter (where r.is_call and not r.is_good),
       sum(r.tokens_charged),
       count(*) filter (where r.is_call),
       coalesce(sum(r.latency_ms) filter (where r.is_call), 0),
       coalesce(max(r.latency_ms) filter (where r.is_call), 0),
       coalesce(add_up(count_latency('{}', r.latency_ms)) filter (where r.is_call), '{}'),
       (array_agg(r.status order by r.created_at desc, r.id desc))[1],
       max(r.created_at)
from (
    select r.*, r.status <> 'circuit_open' as is_call, r.status in ('success', 'stopped') as is_good
    from jsonb_to_recordset($1) as n (id bigint, created_at timestamptz)
    join biz.ai_run_logs r on r.id = n.id and r.created_at = n.created_at
) r
group by r.site_id, r.local_day, r.app_type
order by r.site_id, r.local_day, r.app_type
on conflict on constraint ai_usage_daily_pkey do update set
    calls = u.calls + excluded.calls,
    successes = u.successes + excluded.successes,
    failures = u.failures + excluded.failures,
    tokens = u.tokens + excluded.tokens,
    unpriced_calls = u.unpriced_calls + excluded.unpriced_calls,
    latency_sum_ms = u.latency_sum_ms + excluded.latency_sum_ms,
    latency_max_ms = greatest(u.latency_max_ms, excluded.latency_max_ms),
    latency_buckets = add_up(u.latency_buckets, excluded.latency_buckets),
    last_status = case when u.last_call_at > excluded.last_call_at
        then u.last_status else excluded.last_status end,
    last_call_at = greatest(u.last_call_at, excluded.last_call_at)
