create type finished_reply as (
    applied boolean,
    state text,
    chars integer,
    finished_at timestamptz,
    circuit text
);

comment on type finished_reply is
    'applied: false if the reply had already ended; chars: length of the stored text; circuit: '
    'opened or closed by this call';

create function finish_reply(
    p_site bigint,
    p_message bigint,
    p_run bigint,
    p_run_at timestamptz,
    p_state text,
    p_saved_chars integer,
    p_unsaved text,
    p_is_cut boolean,
    p_card jsonb,
    p_end jsonb,
    p_verdicts jsonb default null
) returns finished_reply language plpgsql as $$
declare
    e run_end := jsonb_populate_record(null::run_end, p_end);
    r finished_reply;
    v_conversation bigint;
    v_question bigint;
    v_content text;
    v_began_at timestamptz;
    v_shown bigint;
    v_now timestamptz := clock_timestamp();
begin
    -- The fence: if the reply has already ended, nothing changes. So a retry after a lost response
    -- is harmless.
    update biz.ai_messages m set
        content = left(reply_text(m), p_saved_chars) || p_unsaved,
        state = p_state,
        tokens_used = e.tokens_in + e.tokens_out,
        doc_references = nullif(e.doc_references, '[]'),
        is_cut = p_is_cut,
        reference_card = p_card,
        moderation = nullif(p_verdicts -> 'reply', 'null'),
        error_code = case when p_state in ('failed', 'interrupted') then e.error_code end,
        lease_until = null,
        finished_at = v_now
    where m.id = p_message and m.site_id = p_site and m.state = 'streaming'
    returning m.conversation_id, m.reply_to, m.content, m.created_at
    into v_conversation, v_question, v_content, v_began_at;
    if not found then
        select false, a.state, char_length(a.content), a.finished_at
        into r.applied, r.state, r.chars, r.finished_at
        from biz.ai_messages a where a.id = p_message and a.site_id = p_site;
        return r;
    end if;
    -- The lock on the message keeps late checkpoints from adding more.
    delete from biz.ai_reply_segments s where s.message_id = p_message and s.site_id = p_site;

    -- An empty reply is not shown in the list.
    v_shown := case when v_content <> '' then p_message end;
    update biz.ai_conversations c set
        -- A message sent meanwhile is newer, also if this update waited for its lock.
        last_message_id = case when v_shown >= coalesce(c.last_message_id, 0)
            then p_message else c.last_message_id end,
        last_message_role = case when v_shown >= coalesce(c.last_message_id, 0)
            then 'assistant' else c.last_message_role end,
        last_message_preview = case when v_shown >= coalesce(c.last_message_id, 0)
            then left(v_content, 100) else c.last_message_preview end,
        last_message_at = case when v_shown >= coalesce(c.last_message_id, 0)
            then v_began_at else c.last_message_at end,
        last_active_at = v_now,
        updated_at = v_now,
        dashscope_session_rounds = case
            when e.session_id is null then c.dashscope_session_rounds
            when e.session_id = c.dashscope_session_id then c.dashscope_session_rounds + 1
            else 1 end,
        dashscope_session_at =
            case when e.session_id is null then c.dashscope_session_at else v_now end,
        -- It is unknown what DashScope stored of an unfinished turn. So the next prompt has the
        -- history instead. The same if block_message dropped the session meanwhile.
        dashscope_session_id = case when p_state = 'complete'
            and not (c.dashscope_session_id is null
                     and coalesce(c.dashscope_session_at > v_began_at, false)) then
            coalesce(e.session_id, case when not e.session_lost then c.dashscope_session_id end)
        end
    where c.id = v_conversation and c.site_id = p_site;

    if e.error_code = 'content_blocked' or p_verdicts -> 'question' <> 'null' then
        perform mark_question(p_site, v_question, e.error_code, p_verdicts);
    end if;

    e.response := v_content;
    r.circuit := (finish_run(p_site, p_run, p_run_at, e)).circuit;

    r.applied := true;
    r.state := p_state;
    r.chars := char_length(v_content);
    r.finished_at := v_now;
    return r;
end $$;

comment on function finish_reply is
    'Ends a reply once: text, state, conversation, run, circuit and usage in one transaction';
