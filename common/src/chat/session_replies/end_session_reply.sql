-- Locks: job, conversation. A job that has ended is not ended again, so a message has one reply.
create function end_session_reply(
    p_site bigint,
    p_job bigint,
    p_claim integer,
    p_state text,
    p_content text,
    p_tokens bigint,
    p_session_id text,
    p_session_lost boolean,
    p_error_code text,
    p_error_message text,
    p_references jsonb default null,
    p_verdicts jsonb default null
) returns boolean language plpgsql as $$
declare
    c biz.ai_conversations;
    v_message bigint;
    v_reply bigint;
    v_began_at timestamptz;
    v_conversation bigint;
    v_now timestamptz := clock_timestamp();
begin
    update biz.ai_trigger_jobs set
        status = case p_state when 'complete' then 'succeeded' else 'failed' end, step = 1,
        lease_until = null, finished_at = v_now, error_code = p_error_code,
        error_message = p_error_message
    where id = p_job and site_id = p_site and claims = p_claim and status = 'running'
    returning message_id, started_at, conversation_id
    into v_message, v_began_at, v_conversation;
    if not found then return false; end if;
    select v.* into c from biz.ai_conversations v
    where v.id = (
        select m.conversation_id from biz.ai_messages m
        where m.id = v_message and m.site_id = p_site)
    for no key update;
    -- The conversation was deleted between the claim of the job and its reply.
    if c.id is null and v_conversation is not null then return true; end if;
    insert into biz.ai_messages (
        conversation_id, site_id, user_id, seq, role, content, state, reply_to, tokens_used,
        doc_references, error_code, moderation, created_at, finished_at)
    values (
        c.id, p_site, c.user_id, c.message_count + 1, 'assistant', p_content, p_state, v_message,
        p_tokens, p_references, case p_state when 'failed' then p_error_code end,
        nullif(p_verdicts -> 'reply', 'null'), v_now, v_now)
    returning id into v_reply;
    if p_error_code = 'content_blocked' or p_verdicts -> 'question' <> 'null' then
        perform mark_question(p_site, v_message, p_error_code, p_verdicts);
    end if;
    perform count_messages(p_site, c.id, 1, v_reply, 'assistant', p_content, v_now, 1, false);
    if p_session_id is not null or p_session_lost then
        update biz.ai_conversations set
            dashscope_session_rounds =
                case when p_session_id = c.dashscope_session_id
                     then c.dashscope_session_rounds + 1 else 1 end,
            dashscope_session_at = v_now,
            -- block_message may have dropped the session meanwhile, as in finish_reply.
            dashscope_session_id = case
                when c.dashscope_session_id is not null
                  or coalesce(c.dashscope_session_at <= v_began_at, true) then p_session_id end
        where id = c.id and site_id = p_site;
    end if;
    return true;
end $$;

comment on function end_session_reply is
    'Ends the job of a message and stores the reply, unread, or the text of no_reply; false if the '
    'caller has lost the job';
