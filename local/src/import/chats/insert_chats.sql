insert into biz.ai_conversations (
    id, public_id, site_id, user_id, context_type, context_id, business_date, channel_type, title,
    status, dashscope_session_id, bot_id, agent_id, created_at, last_active_at)
overriding system value
select c.id, coalesce(c.public_id, gen_random_uuid()), c.site_id, c.user_id, c.context_type,
       c.context_id,
       case c.context_type when 'board' then local_day(s.timezone, c.created_at) end,
       c.channel_type, c.title, c.status, c.dashscope_session_id, c.bot_id, c.agent_id,
       c.created_at, c.created_at
from jsonb_to_recordset($1) as c (
    id bigint, public_id uuid, site_id bigint, user_id bigint, context_type text, context_id text,
    channel_type text, title text, status text, dashscope_session_id text, bot_id uuid,
    agent_id uuid, created_at timestamptz)
join biz.sites s on s.id = c.site_id
