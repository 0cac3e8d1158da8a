-- 90,000 messages of the mini-program and 10,000 of sessions. The users are those of the demo.
insert into biz.users values
    (1001, 1, '阿杰', 'coach', 'approved'), (1002, 1, '小雅', 'staff', 'approved'),
    (1003, 1, '王店长', 'manager', 'approved'), (2001, 2, '阿豪', 'coach', 'approved');

insert into biz.ai_conversations (id, user_id, site_id, title, context_type, context_id, session_id, unread_count, created_at)
select n, u.user_id, u.user_id / 1000, '对话 ' || n,
       (array['general', 'task', 'customer', 'coach', 'board'])[1 + n / 4 % 5], 'c' || n, 's' || n,
       case when n % 7 = 0 then 2 else 0 end, now() - interval '90 days' + n * interval '25 minutes'
from generate_series(1, 4500) n
cross join lateral (select (array[1001, 1002, 1003, 2001])[1 + n % 4] as user_id) u;

insert into biz.ai_messages (id, conversation_id, role, content, tokens_used, reference_card, created_at)
select c.id * 20 + k, c.id, case when k % 2 = 0 then 'user' else 'assistant' end,
       case when k % 2 = 0 then '问题 ' else '回答 ' end || c.id || '/' || k, 12,
       case when k = 1 then '{"type": "customer", "title": "会员", "summary": "近况", "data": {"member_id": 7}}'::jsonb end,
       c.created_at + k * interval '30 seconds'
from biz.ai_conversations c cross join generate_series(0, 19) k;

-- The log of chats only has the first reply of each conversation.
insert into biz.ai_run_logs (app_type, trigger_type, request_prompt, response_text, tokens_used, latency_ms, status, session_id, site_id, created_at, finished_at)
select 'app1_chat', 'chat', m.content, m.content, 100 + c.id % 50, 500 + c.id % 3000, 'success', c.session_id, c.site_id, m.created_at, m.created_at + interval '1 second'
from biz.ai_conversations c join biz.ai_messages m on m.id = c.id * 20 + 1;

insert into biz.ai_run_logs (app_type, trigger_type, member_id, request_prompt, response_text, tokens_used, latency_ms, status, error_message, site_id, alert_status, created_at, finished_at)
select (array['app3_clue', 'app4_analysis', 'app2_finance'])[1 + n % 3], 'event', 10001 + n % 50, '资料', '{}',
       case when n % 7 <> 2 and n % 10 > 1 then n % 900 end, n % 4000, (array['failed', 'timeout', 'circuit_open', 'success', 'success', 'success', 'success'])[1 + n % 7],
       case when n % 7 < 3 then 'upstream' end, 1 + n % 2, case when n % 21 = 0 then 'ignored' end,
       now() - interval '80 days' + n * interval '30 minutes', now() - interval '80 days' + n * interval '30 minutes 3 seconds'
from generate_series(1, 3500) n;

insert into biz.ai_cache (cache_type, site_id, target_id, result_json, score, triggered_by, status, created_at, expires_at)
select 'app3_clue', 1 + n % 2, (10001 + n % 200)::text,
       '{"clues": [{"category": "消费", "summary": "常来", "detail": "每周两次", "emoji": "🎱", "providers": "系统"}]}', null, 'event',
       case when n % 5 = 0 then 'expired' end, now() - interval '3 days' + n * interval '1 minute', now() + interval '4 days'
from generate_series(1, 1000) n;

insert into biz.ai_trigger_jobs (event_type, member_id, status, app_chain, is_forced, site_id, started_at, finished_at, created_at, payload, connector_type)
select 'consumption.settled', 10001 + n % 200, (array['success', 'failed', 'pending', 'success'])[1 + n % 4], '["app3_clue"]', false, 1 + n % 2,
       t.at, t.at + interval '5 seconds', t.at, jsonb_build_object('order_id', n), 'event_bus'
from generate_series(1, 400) n cross join lateral (select now() - interval '9 days' + n * interval '10 minutes' as at) t;

insert into pit.users values ('u-1', 'ajie', '阿杰'), ('u-2', 'ahao', '阿豪');
insert into pit.agents values ('agent-1', '对话');
insert into pit.bots values
    ('6f1b2c1e-0000-4000-8000-000000000001', 'helper', '小助手', null, 'active', 'agent-1'), ('bot-2', 'quiet', null, null, 'disabled', null);
-- Every tenth id is no UUID.
insert into pit.sessions
select case when n % 10 = 0 then 'session-' || n else md5('session' || n)::uuid::text end, 'u-' || 1 + n % 2,
       case when n % 3 = 0 then 'bot-2' else '6f1b2c1e-0000-4000-8000-000000000001' end, 'agent-1', '会话 ' || n, 'web',
       (array['active', 'paused', 'closed'])[1 + n % 3], 10, n % 3, t.at, t.at, t.at + interval '9 minutes'
from generate_series(1, 1000) n cross join lateral (select (now() - interval '40 days' + n * interval '1 hour') at time zone 'UTC' as at) t;
insert into pit.messages
select md5(s.id || k)::uuid::text, s.id, case when k % 2 = 0 then 'user' else 'bot' end, null, null, s.bot_id, 'text',
       case when k % 2 = 0 then '你好 ' else '您好 ' end || k, 'markdown', case when k % 2 = 1 then md5(s.id || (k - 1))::uuid::text end, 'sent', null,
       s.created_at + k * interval '1 minute'
from pit.sessions s cross join generate_series(0, 9) k;
