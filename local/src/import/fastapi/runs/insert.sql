-- A run of a chat gets the user of its conversation. If the user has deleted the conversation in
-- Parlor, the run is stored without texts, as if it had been deleted after the import.
insert into biz.ai_run_logs (
    id, site_id, user_id, conversation_id, bot_id, app_type, trigger_type, member_id, status, alert_status,
    request_prompt, response_text, tokens_used, tokens_charged, local_day, latency_ms, attempts,
    refusals, session_id, error_code, error_message, created_at, finished_at)
select r.id, r.site_id, c.user_id, c.id, c.bot_id, r.app_type, r.trigger_type, r.member_id, r.status,
       r.alert_status,
       case when i.new_id is null or c.id is not null then r.request_prompt end,
       case when i.new_id is null or c.id is not null then r.response_text end,
       r.tokens_used, coalesce(r.tokens_used, 0), local_day(s.timezone, r.created_at), r.latency_ms,
       r.attempts, r.refusals, r.session_id, r.error_code, r.error_message, r.created_at,
       r.finished_at
from jsonb_to_recordset($1) as r (
    id bigint, site_id bigint, app_type text, trigger_type text, member_id bigint, status text,
    alert_status text, request_prompt text, response_text text, tokens_used bigint,
    latency_ms bigint, attempts integer, refusals bigint, session_id text, error_code text,
    error_message text, created_at timestamptz, finished_at timestamptz, chat_id text)
join biz.sites s on s.id = r.site_id
left join parlor_import.ids i
    on i.service = 'fastapi' and i.kind = 'conversation' and i.earlier_id = r.chat_id
left join biz.ai_conversations c on c.id = i.new_id::bigint and c.site_id = r.site_id
