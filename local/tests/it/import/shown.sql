-- What the earlier services showed to the user $1 of the mini-program, newest first.
with texts as (
    select conversation_id, count(*) as messages, max(created_at) as last_at,
           (array_agg(content order by created_at desc))[1] as last_text
    from biz.ai_messages group by conversation_id
), said as (
    select session_id, count(*) as messages, max(created_at) at time zone 'UTC' as last_at,
           (array_agg(content order by created_at desc))[1] as last_text
    from pit.messages group by session_id
), sessions as (
    select s.title, s.status, s.channel_type, t.messages, s.unread_count, t.last_text, b.name as bot, t.last_at
    from pit.sessions s join said t on t.session_id = s.id join pit.bots b on b.id = s.bot_id
    where s.user_id = case $1::bigint when 1001 then 'u-1' when 2001 then 'u-2' end
)
select (select jsonb_agg(jsonb_build_array(c.title, c.messages, c.unread_count, c.last_text) order by c.last_at desc)
        from (
            select c.title, t.messages, c.unread_count, t.last_text, t.last_at
            from biz.ai_conversations c join texts t on t.conversation_id = c.id where c.user_id = $1
            union all
            select title, messages, unread_count, last_text, last_at from sessions
        ) c),
       (select jsonb_agg(jsonb_build_array(title, status, channel_type, messages, unread_count, last_text, bot) order by last_at desc)
        from sessions)
