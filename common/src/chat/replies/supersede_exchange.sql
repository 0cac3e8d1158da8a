-- The caller has locked the conversation, and no reply of it is in progress.
--
-- A superseded message leaves the sequence of its conversation: its number is its negative id. So
-- pages stay ranges of numbers without gaps, and the new exchange takes the free numbers.
create function supersede_exchange(
    p_site bigint,
    p_conversation bigint,
    x last_exchange,
    p_content text,
    p_at timestamptz
) returns void language plpgsql as $$
declare
    v_again boolean := p_content is null;
begin
    update biz.ai_messages set seq = -id, superseded_at = p_at
    where site_id = p_site
      and id = any (case when v_again then array[x.reply_id]
                         else array[x.question_id, x.reply_id] end);
    -- A question that DashScope blocked gets another chance.
    update biz.ai_messages set error_code = null
    where id = x.question_id and site_id = p_site and v_again and error_code is not null;
    update biz.ai_conversations c set
        -- DashScope's session has the superseded exchange.
        dashscope_session_id = null,
        -- A title that nobody has set is the beginning of the first message.
        title = case when not v_again and c.message_count = 2 and c.title = left(x.content, 30)
            then left(p_content, 30) else c.title end,
        -- The question is the last message again. A new question is counted by count_messages.
        last_message_id = case when v_again then x.question_id else c.last_message_id end,
        last_message_role = case when v_again then 'user' else c.last_message_role end,
        last_message_preview =
            case when v_again then left(x.content, 100) else c.last_message_preview end,
        last_message_at = case when v_again then x.question_at else c.last_message_at end,
        last_active_at = p_at,
        updated_at = p_at
    where c.id = p_conversation and c.site_id = p_site;
end $$;

comment on function supersede_exchange is
    'Takes the last reply out of its conversation, and with new content also the question';
