create type finished_reply as (
    applied boolean,
    state text,
    chars integer,
    finished_at timestamptz,
    circuit text
);

comment on type finished_reply is
    'applied: false when the reply had ended before; chars: length of the stored text; circuit: opened or closed by this end';

create function finish_reply(
    p_site bigint,
    p_message bigint,
    p_run bigint,
    p_run_at timestamptz,
    p_state text,
    p_saved_chars integer,
    p_unsaved text,
    p_end jsonb
) returns finished_reply language plpgsql as $$
declare
    e run_end := jsonb_populate_record(null::run_end, p_end);
    r finished_reply;
    m biz.ai_messages;
    v_now timestamptz := clock_timestamp();
begin
    -- The fence: a caller that finds the reply ended is late, and changes nothing. So a retry after
    -- a lost response is harmless.
    update biz.ai_messages set
        content = left(content, p_saved_chars) || p_unsaved,
        state = p_state,
        tokens_used = e.tokens_in + e.tokens_out,
        error_code = case when p_state in ('failed', 'interrupted') then e.error_code end,
        lease_until = null,
        finished_at = v_now
    where id = p_message and site_id = p_site and state = 'streaming'
    returning * into m;
    if not found then
        select false, a.state, char_length(a.content), a.finished_at
        into r.applied, r.state, r.chars, r.finished_at
        from biz.ai_messages a where a.id = p_message and a.site_id = p_site;
        return r;
    end if;

    update biz.ai_conversations set
        -- A message that was sent meanwhile is newer, also if this update waited for it.
        (last_message_id, last_message_role, last_message_preview, last_message_at) = (
            select n.id, n.role, n.preview, n.at
            from (values
                (last_message_id, last_message_role, last_message_preview, last_message_at, 1),
                (m.id, m.role, left(m.content, 100), m.created_at, 2)
            ) n (id, role, preview, at, known)
            where n.preview <> '' order by n.id desc nulls last, n.known desc limit 1),
        last_active_at = v_now,
        updated_at = v_now,
        dashscope_session_rounds = case
            when e.session_id is null then dashscope_session_rounds
            when e.session_id = dashscope_session_id then dashscope_session_rounds + 1 else 1 end,
        dashscope_session_at = case when e.session_id is null then dashscope_session_at else v_now end,
        dashscope_session_id =
            coalesce(e.session_id, case when not e.session_lost then dashscope_session_id end)
    where id = m.conversation_id and site_id = p_site;

    e.response := m.content;
    r.circuit := (finish_run(p_site, p_run, p_run_at, e)).circuit;

    r.applied := true;
    r.state := m.state;
    r.chars := char_length(m.content);
    r.finished_at := v_now;
    return r;
end $$;

comment on function finish_reply is
    'Ends a reply: text, state, conversation, run, circuit and usage together, once';
