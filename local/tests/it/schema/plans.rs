//! Runs the product's statements from `.sqlx` on large tables.
//!
//! `explain` does not show statements inside functions. Therefore the test reads PostgreSQL's count
//! of sequential scans in the same transaction.

use std::path::Path;

use serde_json::Value;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

use super::*;

/// 200 users with 10 conversations of 10 messages each, and a run for every other message. The
/// reply with id 1000000 is being made. In one conversation with a bot, every message has an
/// idempotency key, and in the others one message.
const DATA: &str = "
    insert into biz.sites (id, name) values (1, 'site');
    insert into biz.users (id, site_id, nickname, role, status, listed_conversations)
    select n, 1, 'user', 'coach', 'approved', 10 from generate_series(1, 200) n;
    insert into biz.ai_conversations (id, site_id, user_id, context_type, context_id, message_count, last_active_at)
    overriding system value
    select n, 1, 1 + n % 200, 'task', 'task-' || n, 10, now() - n * interval '1 minute' from generate_series(1, 2000) n;
    insert into biz.ai_messages (conversation_id, site_id, user_id, seq, role, content, created_at)
    select 1 + n / 10, 1, 1 + (1 + n / 10) % 200, 1 + n % 10, case n % 2 when 0 then 'user' else 'assistant' end,
           'hello', now() - interval '1 day' - n * interval '1 second'
    from generate_series(0, 19999) n;
    insert into biz.ai_run_logs (site_id, user_id, app_type, trigger_type, status, local_day, created_at)
    select 1, 1 + n % 200, 'app1_chat', 'chat', 'success', current_date, date_trunc('month', now()) + n * interval '1 second'
    from generate_series(1, 10000) n;
    insert into biz.ai_messages (id, conversation_id, site_id, user_id, seq, role, state, lease_until)
    overriding system value values (1000000, 2000, 1, 1, 11, 'assistant', 'streaming', now() + interval '1 hour');
    insert into biz.ai_reply_segments (message_id, site_id, from_char, text)
    select 1000000 + n / 20, 1, 5 * (n % 20), 'hello' from generate_series(0, 19999) n;
    insert into biz.ai_run_logs (id, site_id, user_id, app_type, trigger_type, status, message_id, local_day, created_at)
    values (1000000, 1, 1, 'app1_chat', 'chat', 'running', 1000000, current_date, date_trunc('month', now()));
    insert into biz.ai_run_logs (id, site_id, app_type, trigger_type, status, alert_status, error_code, local_day, created_at)
    select 2000000 + n, 1, 'app3_clue', 'event', 'failed', 'pending', 'upstream_error', current_date, date_trunc('month', now()) + n * interval '1 second'
    from generate_series(0, 999) n;
    insert into biz.ai_cache (site_id, cache_type, target_id, member_id, status, triggered_by, business_date, valid_days,
                              result_json, expires_at)
    select 1, 'app3_clue', 'member:' || n % 5000, n % 5000, case when n < 5000 then 'valid' else 'expired' end, 'event', current_date, 7,
           '{}', now() + interval '1 day'
    from generate_series(0, 19999) n;
    insert into biz.ai_cache (id, site_id, cache_type, target_id, member_id, triggered_by, business_date, valid_days, lease_until)
    overriding system value values (1000000, 1, 'app3_clue', 'member:7', 7, 'event', current_date, 7, now() + interval '1 hour');
    insert into biz.ai_trigger_jobs (site_id, event_type, connector_type, trigger_type, member_id, app_chain, status, run_after)
    select 1, 'consumption.settled', 'event_bus', 'event', n, '{app3_clue}', case when n % 20 = 0 then 'pending' else 'succeeded' end,
           now() + n * interval '1 second'
    from generate_series(0, 19999) n;
    insert into biz.ai_trigger_jobs (id, site_id, event_type, connector_type, trigger_type, member_id, app_chain, status, claims, lease_until)
    overriding system value values (1000000, 1, 'consumption.settled', 'event_bus', 'event', 7, '{app3_clue}', 'running', 1, now() + interval '1 hour');
    insert into biz.agents (id, name, app_id) values ('00000000-0000-4000-8000-0000000000a1', 'agent', 'app1_chat');
    insert into biz.bots (id, name, agent_id)
    values ('00000000-0000-4000-8000-0000000000b1', 'bot', '00000000-0000-4000-8000-0000000000a1');
    insert into biz.ai_conversations (id, public_id, site_id, user_id, context_type, context_id, bot_id, agent_id, message_count)
    overriding system value
    values (3000000, '00000000-0000-4000-8000-0000000000bb', 1, 1, 'bot', 'b', '00000000-0000-4000-8000-0000000000b1',
            '00000000-0000-4000-8000-0000000000a1', 5000);
    insert into biz.ai_messages (id, conversation_id, site_id, user_id, seq, role, content, created_at)
    overriding system value
    select 3000000 + n, 3000000, 1, 1, n, 'user', 'hello', now() - interval '1 day' from generate_series(1, 5000) n;
    insert into biz.ai_idempotency_keys (conversation_id, key, message_id)
    select 3000000, 'k-' || n, 3000000 + n from generate_series(1, 5000) n;
    insert into biz.ai_idempotency_keys (conversation_id, key, message_id)
    select conversation_id, 'm-' || conversation_id, min(id) from biz.ai_messages where conversation_id <= 2000 group by conversation_id;
    insert into biz.ai_usage_daily (site_id, day, app_type, calls, last_status, last_call_at)
    select 1, current_date - n, 'app1_chat', 1, 'success', now() - n * interval '1 day' from generate_series(0, 3000) n;
    insert into biz.ai_usage_days (site_id, day, tokens) select 1, current_date - n, 1 from generate_series(0, 3000) n;
    insert into biz.ai_usage_details (site_id, day, user_id, bot_id, calls, successes, failures, tokens_in, tokens_out,
                                      tokens, cost, unpriced_calls)
    select 1, current_date - n / 20, 1 + n % 20, '00000000-0000-4000-8000-0000000000b1', 1, 1, 0, 1, 1, 2, 0, 1 from generate_series(0, 1199) n;
    insert into biz.ai_admin_audit (site_id, user_id, action, created_at)
    select 1, 7, 'budget.set', now() - n * interval '1 minute' from generate_series(1, 5000) n;
    insert into biz.ai_batches (site_id, app_types, member_ids, estimated_calls, estimated_tokens, expires_at, created_by)
    select 1, '{app3_clue}', '{7}', 1, 2000, now() - interval '1 hour', 7 from generate_series(1, 2000);
    insert into biz.ai_batches (id, site_id, app_types, member_ids, estimated_calls, estimated_tokens, expires_at, created_by)
    values ('00000000-0000-4000-8000-0000000000ba', 1, '{app3_clue}', '{7,8}', 2, 4000, now() + interval '1 hour', 7);
    insert into biz.ai_batches (id, site_id, app_types, member_ids, estimated_calls, estimated_tokens, expires_at, confirmed_at, created_by)
    values ('00000000-0000-4000-8000-0000000000bc', 1, '{app3_clue}', '{7,8}', 2, 4000, now() + interval '1 hour', now(), 7);
    insert into biz.ai_trigger_jobs (site_id, event_type, connector_type, trigger_type, member_id, app_chain, batch_id)
    select 1, 'batch', 'batch', 'batch', n, '{app3_clue}', '00000000-0000-4000-8000-0000000000bc' from generate_series(7, 8) n;
    insert into biz.ai_feedback (site_id, user_id, subject_type, subject_id, app_type, prompt_version, rating, created_at)
    select 1, 1 + n % 200, 'message', n, 'app1_chat', 'app1_chat/' || n % 3, case n % 3 when 0 then 'down' else 'up' end,
           now() - n * interval '10 minutes'
    from generate_series(1, 20000) n;
    insert into biz.ai_reports (site_id, user_id, subject_type, subject_id, reason, due_at)
    select 1, 1 + n % 200, 'message', n, 'other', now() + interval '15 days' from generate_series(1, 2000) n;
    insert into biz.sites (id, name) select n, 'another' from generate_series(2, 500) n;
    insert into biz.ai_cache (site_id, cache_type, target_id, member_id, status, triggered_by, business_date, valid_days, result_json, expires_at)
    select 2 + n % 19, 'app3_clue', 'member:' || n, n, 'valid', 'event', current_date, 7, '{}', now() + interval '1 day'
    from generate_series(1, 20000) n;
    insert into biz.ai_admin_audit (site_id, user_id, action, created_at)
    select 2 + n % 19, 7, 'budget.set', now() - n * interval '1 second' from generate_series(1, 50000) n;
    insert into biz.ai_quotas (site_id, subject_type, subject_id, daily_limit, monthly_limit)
    select n, subject_type, subject_id, 1000000000, 1000000000
    from generate_series(1, 500) n, (values ('user', '1'), ('role', 'coach'), ('bot', '00000000-0000-4000-8000-0000000000b1')) s (subject_type, subject_id);
    insert into biz.ai_quotas (site_id, subject_type, subject_id, daily_limit)
    select 2 + n % 19, 'user', (1000 + n)::text, 1 from generate_series(1, 20000) n;
    insert into biz.ai_apps (site_id, app_type)
    select n, app from generate_series(1, 500) n, unnest('{app1_chat,app3_clue,app4_analysis,app5_tactics}'::text[]) app;
    insert into biz.ai_reports (site_id, user_id, subject_type, subject_id, reason, due_at, created_at)
    select 2 + n % 19, 1, 'message', n, 'other', now() + interval '15 days', now() - n * interval '1 second' from generate_series(1, 20000) n;
    insert into biz.ai_feedback (site_id, user_id, subject_type, subject_id, app_type, rating, created_at)
    select 2 + n % 19, 1, 'insight', n, 'app3_clue', 'up', now() - n * interval '1 second' from generate_series(1, 40000) n;
    insert into biz.notification_channels (site_id, kind, name, url, level, hourly_cap, enabled)
    select n % 500 + 1, 'webhook', 'x', 'https://hooks.example/', 'info', 20, true from generate_series(1, 1000) n;
    insert into biz.notification_incidents (site_id, kind, cause, level, details, began_at, last_at, occurrences, ended_at)
    select n % 500 + 1, 'alert', 'cause-' || n, 'warning', '{}', now(), now(), 1, now() from generate_series(1, 20000) n;
    insert into biz.notification_deliveries (site_id, channel_id, incident_id, event, state, tried_at, ok)
    select i.site_id, c.id, i.id, 'opened', 'sent', now() - interval '1 day', true
    from biz.notification_incidents i join biz.notification_channels c on c.site_id = i.site_id;
    insert into biz.ai_usage_details (site_id, day, user_id, model_id, calls, successes, failures, tokens_in, tokens_out,
                                      tokens, cost, unpriced_calls)
    select 1 + n % 20, current_date - n / 80, n % 80, 'qwen-plus', 1, 1, 0, 1, 1, 2, 0, 1 from generate_series(0, 23999) n;
    insert into biz.moderation_words (site_id, word, normal, created_by)
    select nullif(n % 20, 0), n, n, 7 from generate_series(1, 20000) n;
    alter table biz.ai_conversations alter column id restart with 4000000;
    analyze";

/// Plans for the given parameters, and for any.
const MODES: [&str; 2] = ["force_custom_plan", "force_generic_plan"];

/// Large tables that the transaction has read as a whole. Empty partitions, such as those of future
/// months, are excluded, because a sequential scan is best for them.
const SCANNED: &str = "
    select relname::text from pg_stat_xact_user_tables
    where relname ~ '^ai_(messages|conversations|run_logs|cache$|trigger_jobs|idempotency_keys|admin_audit|usage_d(aily|ays|etails)|quotas|batches|apps|feedback|reports)|^moderation_words|^notification_(incidents|deliveries)'
      and seq_scan > 0 and seq_tup_read > 0";

/// A text that only one statement contains, and the parameters for it.
const EXAMPLES: &[(&str, &str)] = &[
    ("grant_to_app_role($1)", "current_user"),
    ("from unnest(array[0, $1::bigint]) list (id)", "1, 5000"),
    (
        "with lists (id) as materialized",
        "1, 10001, null, null, 21, 0",
    ),
    ("select id, name, timezone, runtime_mode as mode", "1"),
    (
        "insert into biz.ai_admin_audit (site_id, user_id, action, details) values",
        "1, 7, 'console.sign_in'",
    ),
    ("select id from biz.sites where id = $1 for key share", "1"),
    ("coalesce(site_id, 0) = coalesce($1::bigint, 0)", "1"),
    ("insert into biz.moderation_words", "1, '词', '词', 7"),
    ("select site_id, word from biz.moderation_words", "7"),
    ("delete from biz.moderation_words", "7"),
    ("select openid from biz.users", "1, 7"),
    ("from biz.wechat_tokens where app_id", "'wx'"),
    ("insert into biz.wechat_tokens", "'wx', 3, null"),
    ("update biz.wechat_tokens", "'wx', 'token', 7200"),
    ("select retry_at from budget_room($1, $2)", "1, 2000"),
    (
        "and dedup_key = concat_ws('/', site_today($1), $2::text, $3::text)",
        "1, 'insight.refresh', 'app3_clue/member:7'",
    ),
    (
        "making.job_id, making.is_leased",
        "1, '{app3_clue,app8_clue_consolidated}', '{member:7,member:7}', '{clue,null}', 7",
    ),
    (
        "is_forced, urgency, requested_by, dedup_key)",
        "1, 'insight.refresh', 7, '{}', '{app3_clue}', false, 7, 'app3_clue/member:7'",
    ),
    (
        "(select m.member_id from dws.member_profile m",
        "1, 7, null, null, null",
    ),
    ("from biz.ai_trigger_jobs where requested_by = $1", "7"),
    (
        "delete from biz.ai_result_failures f using unnest",
        "1, '{app3_clue}', '{member:7}'",
    ),
    ("from biz.ai_cache asked", "1, 7, 10, 7"),
    (
        "insert into biz.ai_reply_segments",
        "1, 1000000, 0, '你好', 30",
    ),
    ("where r.site_id = s.id and r.alert_status is not null", "1"),
    ("from budget_of($1)\n", "1"),
    (
        "insert into biz.ai_budgets",
        "1, 1000, 10000, 500000, null, null, null, 7",
    ),
    (
        "usage_by($1, $6, days.first_day, days.last_day)",
        "1, null, null, null, null, 'user', 400",
    ),
    ("cross join user_limits($1, $2)", "1, 1"),
    ("left join lateral quota_use(s.id, q.subject_type", "1"),
    (
        "cross join lateral quota_use(s.id, $2, $3",
        "1, 'bot', '00000000-0000-4000-8000-0000000000b1'",
    ),
    ("and coalesce(b.site_id, s.id) = s.id", "1, 1, null"),
    ("delete from biz.ai_quotas", "1, 'user', '1'"),
    ("insert into biz.ai_quotas", "1, 'user', '2', 5, null"),
    ("biz.ai_prices order by model", ""),
    (
        "from biz.ai_prices where model = $1 and valid_from = $2 for update",
        "'qwen-plus', '2026-01-01'",
    ),
    ("delete from biz.ai_prices", "'qwen-plus', '2026-01-01'"),
    (
        "insert into biz.ai_prices",
        "'qwen-plus', '2026-01-01', '{128000}', '{800000,2400000}', '{2000000,20000000}'",
    ),
    ("select from biz.sites where id", "1"),
    ("cross join budget_of($1) b", "1, 7"),
    (
        "from used union select $6",
        "1, null, null, null, null, null, 7, 400",
    ),
    (
        "unnest($2::text[]) with ordinality as a",
        "1, '{app1_chat,app3_clue}'",
    ),
    (
        "runtime_mode as mode, sandbox_date, runtime_updated_by as updated_by, runtime_updated_at as updated_at\n        from biz.sites",
        "1",
    ),
    ("select runtime_mode, sandbox_date from biz.sites", "1"),
    ("update biz.sites set", "1, 'sandbox', '2026-05-01', 7"),
    ("with asked as", "1, 1000000, 1"),
    (
        "from biz.ai_admin_audit a",
        "1, null, null, null, null, 'budget.set', 7, 10000, null, null, 21, 0",
    ),
    (
        "count_alerts(",
        "1, null, null, null, null, '{app3_clue}', '{pending}', 10000, null, null, 21, 0",
    ),
    (
        "count_runs(",
        "1, null, null, null, null, '{\"apps\":[\"app3_clue\"],\"statuses\":[\"failed\"],\"triggers\":[\"event\"]}', 1000, 2000, null, null, 21, 0",
    ),
    (
        "group_alerts(",
        "1, null, null, null, null, '{app3_clue}', '{pending}', 1000, null, null, 21, 0",
    ),
    (
        "alerts_over_time(",
        "1, null, null, null, null, '{1}', '{app3_clue}', '{pending}', 24, 1000",
    ),
    (
        "select id, created_at, app_type, status, error_code from biz.ai_run_logs",
        "1, 2000000",
    ),
    (
        "with cause (id, created_at)",
        "1, 2000000, date_trunc('month', now()), 'app3_clue', 'failed', 'upstream_error', 'acknowledged', 5000, null, null, null, null",
    ),
    ("from biz.ai_run_logs where id = $2 and (", "1, 2000000"),
    (
        "cross join lateral (select exists (",
        "1, 'app3_clue', 'member:7'",
    ),
    (
        "false as \"stale!\"\n        from biz.ai_cache\n",
        "1, 'app3_clue', 'member:7', 2",
    ),
    (
        "and c.member_id = $2 and c.cache_type = $3",
        "1, 7, 'app6_note_analysis', 20",
    ),
    ("p.run_id as \"previous_run_id?\"", "1, 2000000"),
    ("order by 3, 2 limit $3", "1, 'a', 50"),
    (
        "select t.name as \"status!\", (",
        "1, null, null, null, null, '{batch,prewarm}', '{pending,succeeded}', null, 1000",
    ),
    (
        "with kinds (site_id, cache_type",
        "1, '{app3_clue}', null, '{generating,valid}', 10000, null, 21, 0",
    ),
    (
        "enqueue_job(",
        "1, 'consumption.settled', 'e-1', 'event_bus', 7, '{}', '{app3_clue}', '-', false",
    ),
    (
        "kinds (site_id, event_type",
        "1, null, null, null, null, '{batch,prewarm}', '{pending,succeeded}', 1000, null, null, 21, 0, null, null",
    ),
    (
        "cross join lateral (\n            select coalesce(jsonb_agg(",
        "1, 1000000, 100",
    ),
    ("with recursive earlier (id, retry_of)", "1, 1"),
    ("with recursive family (id, status)", "1, 1, 1"),
    ("true, j.id\n", "1, 1"),
    ("true, j.id, -1", "1, '{1}'"),
    (
        "and id in ($2, $3) order by id for no key update",
        "1, 1, 1",
    ),
    (
        "select matching as \"matching!\"",
        "1, null, null, null, null, '{consumption.settled}', '{pending,running}', false, 100000, 1000, null",
    ),
    (
        "status <> 'running')\n         order by id for no key update skip locked",
        "1, '{1,2}', '{pending,running}'",
    ),
    ("returning status", "1, 1"),
    (
        "end\n         where id = any ($2) and site_id = $1",
        "1, '{1}'",
    ),
    (
        "select s.id, $2, $5, $3, $4 from biz.sites s",
        "1, 7, 'run_logs.export', '{}', null",
    ),
    (
        "), judged as (",
        "0, 1, 50, '{today}', 'app2_finance', 'app2a_finance_area', 'all', false, 'prewarm', null, 'schedule', false",
    ),
    (
        "with page (last_site) as",
        "0, 1, 50, '{today}', 'app2_finance', 'app2a_finance_area', 'all', 'prewarm'",
    ),
    ("biz.is_timezone($2)", "'05:30', 'Asia/Shanghai'"),
    (
        "select b.id, b.created_at from biz.ai_batches b",
        "1, 10000, null, null, 21, 0",
    ),
    ("with oldest (due) as", ""),
    ("), turns as (", "8, 30"),
    (
        "advance_jobs(",
        r#"'[{"site_id":1,"id":1000000,"claim":1,"targets":["member:7"],"app_ids":["app3_clue"],"member_id":7,"valid_days":[7]}]', 30"#,
    ),
    ("with job as (", "1, 1000000, 1, 1000000, 1, 30"),
    (
        "with moved as",
        "1, 1000000, 1, 'retry', null, 'upstream_error', 'x', 5, 'retry'",
    ),
    ("set status = 'succeeded', lease_until", "1, 1000000, 1"),
    ("with waiting as materialized", "100"),
    ("is_reply!\", waits_for::text", "1, 1"),
    ("set run_after = least(run_after, now())", "1, 1"),
    (
        "begin_job_run(",
        "1, 1000000, 1, 'app3_clue', 'app3_clue', 7, 2000, '{}', 'app3_clue/1', 30, 'infinity', 0.6, 30000",
    ),
    (
        "finish_job_run(",
        "1, 1000000, 1, 1000000, 1, 1000000, date_trunc('month', now()), \
         '{\"status\": \"success\", \"tokens_in\": 10, \"tokens_out\": 20, \"unknown_tries\": 1, \"usage_implausible\": false, \"session_lost\": false, \
         \"latency_ms\": 900, \"attempts\": 1, \"circuit\": \"success\"}', '{}', null",
    ),
    (
        "from fall_back(",
        "1, 1000000, date_trunc('month', now()), 'fallback', 5",
    ),
    (
        "begin_session_reply(",
        "1, 1000000, 1, 2000, 30, 'infinity', 3000, 50, 20, 0.6, 30000",
    ),
    ("lateral turns_before(", "1, 1000002, 20"),
    (
        "finish_session_reply(",
        "1, 1000000, 1, 1000000, date_trunc('month', now()), \
         '{\"status\": \"failed\", \"tokens_in\": 10, \"tokens_out\": 20, \"unknown_tries\": 1, \"usage_implausible\": false, \"session_lost\": false, \
         \"latency_ms\": 900, \"attempts\": 1, \"circuit\": \"failure\"}', null",
    ),
    (
        "end_session_reply(",
        "1, 2, 1, 'content_blocked', 'x', '{\"question\":[],\"reply\":[]}'",
    ),
    ("set_config('search_path'", "'biz'"),
    ("insert into biz.function_schemas", "'parlor_00000000'"),
    ("take_turn($1, $2)", "'sweep', null"),
    ("insert into biz.schedule_runs", "'sweep', now()"),
    ("to_regnamespace($1)", "'parlor_00000000'"),
    ("drop_unused_functions(", "'parlor_00000000', 3, 7"),
    ("sweep_jobs(", "5, 3"),
    ("sum_up_usage(", ""),
    ("select user_id, conversation_id, reply_to", "1, 1000000"),
    ("sweep_replies(", ""),
    ("dws.finance_area_daily f join", "1, 'this_month', null"),
    ("from dws.member_profile p cross join clock", "1, 10001, 20"),
    ("from dws.member_note n join", "1, 1000101"),
    (
        "select site_today(s.id) as today, d.first_day, d.last_day\n",
        "1, 'this_month'",
    ),
    ("), worked as (", "1, 1001, 'this_month'"),
    ("), ranked as (", "1, 'this_month'"),
    ("from dws.coach_task\n", "1, 1001004"),
    ("runtime_mode as mode, timezone", "1"),
    ("drop_run_log_partitions(", "90"),
    ("from biz.users where id = $1", "7"),
    (
        "from begin_reply(",
        "1, 7, 6, '你好', 'm-1', 'app1_chat', 2000, 20, 2, 30, 'infinity', 3000, 50, 20, 0.6, 30000, 0, 61",
    ),
    (
        "select u.listed_conversations as total",
        "1, 7, now(), 6, 20, 0, false",
    ),
    (
        "from finish_reply(",
        "1, 1000000, 1000000, date_trunc('month', now()), 'complete', 0, '你好', false, null, \
         '{\"status\": \"success\", \"tokens_in\": 10, \"tokens_out\": 20, \"unknown_tries\": 1, \"usage_implausible\": false, \"session_lost\": false, \
         \"latency_ms\": 900, \"attempts\": 1, \"circuit\": \"success\"}', \
         '{\"question\":[{\"service\":\"http\"}],\"reply\":null}'",
    ),
    ("make_run_log_partitions(", ""),
    ("open_conversation(", "1, 7, 'task', 'task-6', 1800, 50"),
    ("open_reader(", "1, 1, 1000000, 5, 3, 10"),
    (
        "lease_until - clock_timestamp())",
        "1, 1000000, 1, 1, 100, 1, 10",
    ),
    ("with conversation as", "1, 3000000, 1, false, null, 0, 50"),
    (
        "u.listed_sessions",
        "1, 1, 'active', '00000000-0000-4000-8000-0000000000b1', null, null, 21, 0",
    ),
    (
        "select c.user_id, c.agent_id",
        "1, '00000000-0000-4000-8000-0000000000bb'",
    ),
    (
        "with session as",
        "1, '00000000-0000-4000-8000-0000000000bb', 1, 3000005, null, 5",
    ),
    (
        "send_session_message(",
        "1, 1, '00000000-0000-4000-8000-0000000000bb', '你好', 'markdown', 3000001, 'k', 86400, 20, 2000, 'infinity', 0.6, 30000",
    ),
    (
        "title = coalesce($4, c.title)",
        "1, '00000000-0000-4000-8000-0000000000bb', 1, '你好', 'paused'",
    ),
    (
        "set read_seq = c.message_count",
        "1, '00000000-0000-4000-8000-0000000000bb', 1",
    ),
    (
        "update biz.ai_conversations c set status = 'closed'",
        "1, '00000000-0000-4000-8000-0000000000bb', 1",
    ),
    ("set generation = generation + 1", "1, '{app3_clue}', 7"),
    (
        "and member_id = $3 and cache_type = any ($2)",
        "1, '{app3_clue}', 7",
    ),
    (
        "where site_id = $1 and cache_type = any ($2) and status = 'valid'",
        "1, '{app6_note_analysis,app3_clue}'",
    ),
    ("count(distinct p.member_id)", "1, '{1,2}'"),
    ("select id, nickname from biz.users", "'{1,2}'"),
    (
        "coalesce(recent.tokens",
        "1, current_date, '{app3_clue,app4_analysis}', 2, 30, 2000",
    ),
    (
        "insert into biz.ai_batches",
        "1, '{app3_clue}', '{7,8}', 2, 4000, 5000, 600, 7",
    ),
    (
        "select confirmed_at, cancelled_at",
        "1, '00000000-0000-4000-8000-0000000000ba'",
    ),
    ("hashtextextended(format('batches", "1"),
    ("tokens_of_batches($1) as tokens_left", "1, now()"),
    ("select greatest(0, tokens_left($1)", "1"),
    (
        "set confirmed_at = clock_timestamp()",
        "1, '00000000-0000-4000-8000-0000000000ba'",
    ),
    (
        "cross join unnest(b.member_ids)",
        "1, '00000000-0000-4000-8000-0000000000ba', -1",
    ),
    (
        "select from biz.ai_batches where id",
        "1, '00000000-0000-4000-8000-0000000000bc'",
    ),
    (
        "batch_status(b) as \"status!\" from",
        "1, '00000000-0000-4000-8000-0000000000bc'",
    ),
    (
        "set cancelled_at = clock_timestamp()",
        "1, '00000000-0000-4000-8000-0000000000bc'",
    ),
    (
        "update biz.ai_trigger_jobs set status = 'cancelled'",
        "1, '00000000-0000-4000-8000-0000000000bc'",
    ),
    (
        "count(*) as \"cancelled!\"",
        "1, '00000000-0000-4000-8000-0000000000bc'",
    ),
    (
        "as \"unpriced_calls!\"",
        "1, '00000000-0000-4000-8000-0000000000bc'",
    ),
    (
        "batch_status(b) as \"status!\", b.app_types",
        "1, '00000000-0000-4000-8000-0000000000bc'",
    ),
    ("take_sweep_lock(", ""),
    ("delete from biz.ai_idempotency_keys", "86400, 1000"),
    ("where message_count = 0 and last_active_at", "86400, 1000"),
    ("delete from biz.ai_conversations", "'{2147483647}'"),
    ("remove_empty_conversations(", "1, 1, 50"),
    (
        "cache_type::text as \"app!\", target_id, prompt_version",
        "1, 1",
    ),
    ("insert into biz.user_data_deletions", "1, 3, 1, false"),
    (
        "u.nickname as \"nickname?\", u.role as \"role?\"",
        "1, 10000, 0, 21, 0",
    ),
    ("update biz.users set role", "1, 3, 'coach', 'approved'"),
    (
        "right(a.application_id, 4) as application_id_hint",
        "1, false, true, '{app1_chat}', '{null}'",
    ),
    (
        "insert into biz.ai_apps (site_id, app_type)",
        "1, 'app1_chat'",
    ),
    (
        "update biz.ai_apps set",
        "1, false, null, false, null, true, null, null, null, null, 50",
    ),
    (
        "select id, site_id, user_id from biz.user_data_deletions",
        "10, 30",
    ),
    ("order by last_active_at limit $3", "1, 3, 100"),
    ("end_user_data_deletion(", "1, 1000"),
    ("where confirmed_at is null and expires_at", "1, 1000"),
    (
        "delete from biz.ai_batches",
        "'{00000000-0000-4000-8000-0000000000ba}'",
    ),
    ("status = 'generating' and lease_until < now()", "1000"),
    ("status = 'valid' and expires_at <= now()", "1000"),
    ("from biz.ai_cache_sizes", "20000"),
    ("cache_type = $2 order by id limit $3", "1, 'app3_clue', 5"),
    ("delete from biz.ai_cache where id = any", "'{1,2}'"),
    ("set status = 'expired' where id = any", "'{1,2}'"),
    ("bot_access(b, $1, $2) = 'allowed'", "1, 1"),
    (
        "bot_access(b, $1, $2) as \"access!\"",
        "1, 1, '00000000-0000-4000-8000-0000000000b1'",
    ),
    (
        "insert into biz.ai_conversations",
        "1, 1, '00000000-0000-4000-8000-0000000000b1', 'title', '00000000-0000-4000-8000-0000000000a1', 'api'",
    ),
    ("set listed_sessions = listed_sessions + 1", "1, 1"),
    (
        "hashtextextended(format('conversation",
        "1, 1, '00000000-0000-4000-8000-0000000000b1'",
    ),
    (
        "context_type = 'bot' and context_id = $3",
        "1, 1, '00000000-0000-4000-8000-0000000000b1'",
    ),
    (
        "(o.site_id = $1 or o.site_id is null)",
        "1, 'board-finance', null",
    ),
    (
        "o.site_id is not distinct from $1",
        "1, 'board-finance', null",
    ),
    ("order by o.site_id nulls first", "1"),
    ("from biz.ai_notices", "1"),
    ("block_message(", "1, 5, true"),
    ("select user_id from biz.ai_messages", "1, 5"),
    (
        "insert into biz.ai_reports",
        "1, 7, 'message', 5, 'other', 'x', 15",
    ),
    (
        "where user_id = $2 and site_id = $1\n          and (created_at, id)",
        "1, 7, null, null, 21, 0",
    ),
    (
        "order by r.overdue desc",
        "1, true, 10001, true, null, null, 21, 0",
    ),
    ("select resolved_at is not null", "1, 7"),
    ("set resolved_at = clock_timestamp()", "1, 7, 7, 'x'"),
    (
        "pinned = coalesce($5, f.pinned), updated_at",
        "1, 6, 7, '标题', true",
    ),
    ("delete_conversation(", "1, 7, 6"),
    (
        "with range as materialized",
        "1, 7, 9223372036854775807, 'hello', true, 20000, 21, 20, 60",
    ),
    ("c.message_count > 0 and c.id > $3", "1, 7, 0, 100"),
    (
        "m.conversation_id = $3 and m.site_id = $1",
        "1, 7, 6, 0, 50",
    ),
    (
        "insert into biz.ai_feedback",
        "1, 7, 'message', 5, 'app1_chat', null, null, 'up', '{}', null",
    ),
    ("delete from biz.ai_feedback", "1, 7, 'message', 6"),
    ("for key share of m", "1, 1000000"),
    ("open_incidents(", "'{app1_chat,app3_clue}'"),
    ("end_incidents(", ""),
    ("with old as (", ""),
    ("claim_deliveries(", "20, 60, 6"),
    (
        "state = $4::text, ok = $5",
        "1, 1000, 1, 'sent', true, 'HTTP 200', 60",
    ),
    ("(c.site_id, c.id) > ($3, $4)", "1, 10000, 0, 0, 21, 0"),
    (
        "insert into biz.notification_channels",
        "1, 'webhook', 'x', 'https://hooks.example/', null, 'info', 20, null, true, 50",
    ),
    (
        "from biz.notification_channels where id = $2 and site_id = $1 for",
        "1, 7",
    ),
    (
        "update biz.notification_channels",
        "1, 7, 'webhook', 'x', 'https://hooks.example/', null, 'info', 20, null, true",
    ),
    ("delete from biz.notification_channels", "1, 7"),
    (
        "from biz.users\n           where site_id = $1 and id = $2 for no key update",
        "1, 7",
    ),
    ("update biz.bots set status", "gen_random_uuid()"),
    (
        "select from biz.agents a where a.deleted_at is null limit",
        "10000, null, null, 21, 0",
    ),
    ("insert into biz.agents", "'agent', 'app', null"),
    (
        "from biz.agents where id = $1 and deleted_at is null for no key update",
        "gen_random_uuid()",
    ),
    ("update biz.agents set deleted_at", "gen_random_uuid()"),
    (
        "b.id, b.site_id, b.name, b.display_name",
        "gen_random_uuid()",
    ),
    ("b.agent_id, b.created_at as", "1, 10000, null, null, 21, 0"),
    (
        "update biz.agents set name",
        "gen_random_uuid(), 'agent', true, 'app', false, null",
    ),
    (
        "from biz.agents where id = $1 and deleted_at is null for share",
        "gen_random_uuid()",
    ),
    ("delete from biz.openers where bot_id", "gen_random_uuid()"),
    ("delete from biz.bot_grants", "gen_random_uuid(), '{7}'"),
    ("insert into biz.openers", "1, null, null, '{hello}'"),
    ("from biz.bots b where b.agent_id = $1", "gen_random_uuid()"),
    ("u.id = any($2) and u.site_id is not null", "1, '{7}'"),
    (
        "insert into biz.bots",
        "1, 'bot', null, null, 'active', 'public', null",
    ),
    ("with site as (", "1, gen_random_uuid()"),
    ("insert into biz.bot_grants", "gen_random_uuid(), '{}'"),
    (
        "update biz.bots set name",
        "gen_random_uuid(), 'bot', null, null, 'active', 'public', null",
    ),
    ("update biz.api_keys k", "sha256('x')"),
    ("from biz.api_keys k where", "1, 10000, 100, 21, 0"),
    (
        "insert into biz.api_keys",
        "1, 'key', '{jobs:write}', sha256('x'), '0000', 7, null, 50",
    ),
    ("delete from biz.api_keys", "1, 7"),
    (
        "(site_id, user_id, api_key_id, action, object_id, details)",
        "1, 7, null, 'budget.set', null, '{}'",
    ),
    ("coalesce(detail, '') as \"detail!\"", "1, 7"),
    ("select kind as \"kind: String\", url, enabled", "1, 7"),
    ("insert into biz.notification_deliveries", "1, 7"),
    (
        "coalesce(question.content",
        "1, null, null, null, null, 'up', 'app1_chat', null, 10001, null, null, 21, 0, null",
    ),
];

#[derive(serde::Deserialize)]
struct Prepared {
    query: String,
    describe: Described,
}

#[derive(serde::Deserialize)]
struct Described {
    parameters: Value,
}

impl Prepared {
    /// The `execute` command with the example's parameters.
    fn call(&self) -> String {
        let mut examples = EXAMPLES
            .iter()
            .filter(|(words, _)| self.query.contains(words));
        let (Some((_, values)), None) = (examples.next(), examples.next()) else {
            panic!("EXAMPLES has no entry for: {}", self.query)
        };
        if values.is_empty() {
            "execute statement".to_owned()
        } else {
            format!("execute statement({values})")
        }
    }

    /// A transaction in which the statement is prepared.
    fn begin(&self) -> String {
        format!("begin; prepare statement{} as {}", self.types(), self.query)
    }

    fn types(&self) -> String {
        let types = self.describe.parameters["Left"].as_array().unwrap().iter();
        let names: Vec<_> = types
            .map(|name| name.as_str().unwrap().replace("Array", "[]"))
            .collect();
        if names.is_empty() {
            String::new()
        } else {
            format!("({})", names.join(", "))
        }
    }
}

fn statements() -> Vec<Prepared> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.sqlx");
    let files = std::fs::read_dir(directory).unwrap();
    let texts = files.map(|file| std::fs::read(file.unwrap().path()).unwrap());
    texts
        .map(|text| serde_json::from_slice(&text).unwrap())
        .collect()
}

#[tokio::test]
async fn no_statement_of_the_product_reads_a_whole_table() {
    let database = TestDatabase::new().await;
    let mut connection = database.pool().await.acquire().await.unwrap().detach();
    connection.execute(DATA).await.unwrap();
    let statements = statements();
    assert!(!statements.is_empty());
    // Connections use generic plans by default. Custom plans must be fast, too.
    for mode in MODES {
        let set = format!("set plan_cache_mode = {mode}");
        connection.execute(AssertSqlSafe(set)).await.unwrap();
        for statement in &statements {
            let call = statement.call();
            let begin = AssertSqlSafe(statement.begin());
            connection.execute(begin).await.unwrap();
            connection
                .execute(AssertSqlSafe(call.clone()))
                .await
                .unwrap();
            let scanned: Vec<String> = sqlx::query_scalar(SCANNED)
                .fetch_all(&mut connection)
                .await
                .unwrap();
            let plan: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!("explain {call}")))
                .fetch_all(&mut connection)
                .await
                .unwrap();
            let plan = plan.join("\n");
            assert_eq!(scanned, [] as [String; 0], "{mode}: {call}\n{plan}");
            connection
                .execute("rollback; deallocate statement")
                .await
                .unwrap();
        }
    }
}

/// The number of blocks that a statement reads, after the plans of its functions are cached.
async fn blocks(connection: &mut PgConnection, statement: &Prepared) -> i64 {
    let begin = AssertSqlSafe(statement.begin() + "; savepoint before");
    connection.execute(begin).await.unwrap();
    let explain = format!(
        "explain (analyze, buffers, timing off, format json) {}",
        statement.call()
    );
    let mut blocks = 0;
    for _ in 0..2 {
        let plan: Value = sqlx::query_scalar(AssertSqlSafe(explain.clone()))
            .fetch_one(&mut *connection)
            .await
            .unwrap();
        let plan = &plan[0]["Plan"];
        let touched = ["Shared Hit Blocks", "Shared Read Blocks"];
        blocks = touched
            .map(|kind| plan[kind].as_i64().unwrap())
            .iter()
            .sum();
        connection.execute("rollback to before").await.unwrap();
    }
    connection
        .execute("rollback; deallocate statement")
        .await
        .unwrap();
    blocks
}

#[tokio::test]
async fn generic_plans_cost_little_more_than_custom_plans() {
    let database = TestDatabase::new().await;
    let mut connection = database.pool().await.acquire().await.unwrap().detach();
    connection.execute(DATA).await.unwrap();
    for statement in &statements() {
        let mut cost = [0, 0];
        for (mode, cost) in MODES.iter().zip(&mut cost) {
            let set = format!("set plan_cache_mode = {mode}");
            connection.execute(AssertSqlSafe(set)).await.unwrap();
            *cost = blocks(&mut connection, statement).await;
        }
        let [for_these, for_any] = cost;
        assert!(
            for_any <= 4 * for_these + 40,
            "{for_these} blocks with a custom plan, {for_any} with a generic one: {}",
            statement.query
        );
    }
}

/// Runs that the session has read through indexes.
const FETCHED: &str = "
    select coalesce(sum(idx_tup_fetch), 0)::bigint from pg_stat_xact_user_tables where relname ~ '^ai_run_logs'";

#[tokio::test]
async fn a_filter_of_runs_reads_only_runs_of_its_index() {
    let database = TestDatabase::new().await;
    let mut connection = database.pool().await.acquire().await.unwrap().detach();
    connection.execute(DATA).await.unwrap();
    let statements = statements();
    let list = statements
        .iter()
        .find(|statement| statement.query.contains("count_runs("))
        .unwrap();
    // No run matches. With another index, the runs of the site would be read.
    for filter in [
        r#""user_id":9999"#,
        r#""member_id":9999"#,
        r#""bot_id":"00000000-0000-4000-8000-0000000000b1""#,
        r#""error_code":"rare""#,
        r#""model_id":"rare""#,
    ] {
        let all = r#""apps":["a","b"],"statuses":["a","b"],"triggers":["a","b"]"#;
        let call = format!(
            "execute statement(null, null, null, null, null, '{{{all},{filter}}}', 1000, 2000, null, null, 21, 0)"
        );
        connection
            .execute(AssertSqlSafe(list.begin()))
            .await
            .unwrap();
        let fetched = async |connection: &mut PgConnection| -> i64 {
            sqlx::query_scalar(FETCHED)
                .fetch_one(connection)
                .await
                .unwrap()
        };
        let before = fetched(&mut connection).await;
        connection.execute(AssertSqlSafe(call)).await.unwrap();
        let after = fetched(&mut connection).await;
        assert_eq!(after - before, 0, "{filter}");
        connection
            .execute("rollback; deallocate statement")
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_sequential_scan_is_detected() {
    let database = TestDatabase::new().await;
    let mut connection = database.pool().await.acquire().await.unwrap().detach();
    connection.execute(DATA).await.unwrap();
    let scans =
        "select sum(seq_scan)::bigint from pg_stat_xact_user_tables where relname = 'ai_messages'";
    connection
        .execute("begin; do $$ begin perform 1 from biz.ai_messages where content = 'x'; end $$")
        .await
        .unwrap();
    let seen: i64 = sqlx::query_scalar(scans)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert!(seen > 0);
}
