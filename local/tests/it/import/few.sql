-- Rows with each kind of issue.
insert into biz.users values (1001, 1, '阿杰', 'coach', 'approved'), (7, 1, null, 'boss', null);
alter table biz.ai_messages alter column reference_card type json, drop column tokens_used, add column mood text;
insert into biz.ai_conversations (id, user_id, site_id, title, context_type, context_id, created_at) values
    (1, 1001, 1, '旧', 'task', 'x', now() - interval '2 days'), (2, 1001, 1, '新', 'task', 'x', now() - interval '1 day'),
    (3, 7, 1, '不在名单', 'general', '', now()), (4, 1001, 2, '别的门店', 'general', '', now()), (5, 1001, 1, '视频', 'video', repeat('v', 70), now()),
    (6, 1001, 9, '没有这家店', 'general', '', now());
insert into biz.ai_messages (id, conversation_id, role, content, reference_card, created_at) values
    (1, 1, 'user', '你好', null, now()), (2, 1, 'assistant', '', null, now() + interval '1 second'), (3, 2, 'robot', '滴', null, now()),
    (4, 2, 'assistant', '卡片', '{"type": "customer", "title": "a\u0000b", "summary": "", "data": {}}', now()), (5, 2, 'assistant', '坏卡片', '[1]', now()),
    (6, 3, 'user', '丢了吗', null, now()), (7, 4, 'user', '在二店', null, now()), (8, 2, 'user', '永远', null, 'infinity'), (9, 2, 'user', '', '"\ud800"', now());
insert into biz.ai_run_logs (id, app_type, trigger_type, status, site_id, latency_ms, tokens_used, created_at) values
    (1, 'app3_clue', 'cron', 'success', 1, 7, 10, now()), (2, 'app9_dream', 'event', 'success', 1, 7, 10, now()), (3, 'app3_clue', 'event', 'odd', 1, 7, 10, now()),
    (4, 'app3_clue', 'event', 'running', 1, null, null, now()), (5, 'app3_clue', 'event', 'success', 1, 7, 10, now() - interval '400 days'), (6, 'app3_clue', 'event', 'success', 3, 7, 10, now());
insert into biz.ai_cache (id, cache_type, site_id, target_id, result_json, status, created_at) values
    (1, 'app3_clue', 1, 'ten', '{}', null, now()), (2, 'app3_clue', 1, '10001', '{"clues": 1}', null, now()), (3, 'app1_chat', 1, '10001', '{}', null, now()), (4, 'app3_clue', 1, '10002', null, null, now());
insert into biz.ai_trigger_jobs (id, event_type, status, app_chain, site_id, payload, connector_type) values
    (1, 'moon.full', 'success', null, 1, null, null), (2, 'note.created', 'pending', null, 1, null, null), (3, 'note.created', 'success', 'app6_note_analysis', 1, '[1]', 'carrier_pigeon');
insert into pit.users values ('u-1', 'ajie', '阿杰'), ('u-9', 'gone', null);
insert into pit.bots values ('bot-1', 'helper', null, null, 'sleeping', 'agent-9');
insert into pit.sessions (id, user_id, bot_id, status, created_at) values
    ('s-1', 'u-1', 'bot-1', 'archived', now()), ('s-2', 'u-9', 'bot-1', 'active', now()), ('s-3', 'u-1', null, 'active', now()), ('s-4', 'u-1', 'bot-9', 'active', now());
insert into pit.messages (id, session_id, sender_type, content, content_type, created_at) values
    ('m-1', 's-1', 'user', '你好', 'html', now()), ('m-2', 's-1', 'ghost', '呜', 'text', now()), ('m-3', 's-5', 'user', '孤儿', 'text', now());
