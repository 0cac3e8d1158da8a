insert into biz.ai_messages (
    id, conversation_id, site_id, user_id, seq, role, content, content_type, state, error_code,
    reply_to, reference_card, tokens_used, created_at, finished_at)
overriding system value
select m.id, m.conversation_id, m.site_id, m.user_id, m.seq, m.role, m.content, m.content_type,
       m.state, m.error_code, m.reply_to, m.reference_card, m.tokens_used, m.created_at,
       m.created_at
from jsonb_to_recordset($1) as m (
    id bigint, conversation_id bigint, site_id bigint, user_id bigint, seq bigint, role text,
    content text, content_type text, state text, error_code text, reply_to bigint,
    reference_card jsonb, tokens_used bigint, created_at timestamptz)
