-- The newest message that has text is kept with its conversation, whole as lists show it: of 100 sessions, looking each one up was half
-- of the list. Before, the first characters alone were kept, and the time was when the conversation was last counted.
-- First everybody who writes does so; what was written before comes in the next migration, also what is being written now.
alter table biz.ai_conversations
    add column last_message_id bigint,
    add column last_message_role text;
comment on column biz.ai_conversations.last_message_id is 'The newest message that has text; null where there is none';
comment on column biz.ai_conversations.last_message_role is 'Who said it';
comment on column biz.ai_conversations.last_message_preview is 'Its first 100 characters';
comment on column biz.ai_conversations.last_message_at is 'When it was stored; of a reply, when that began';

-- As before, but for the last message, which is looked up: who is counted has been written.
create or replace function biz.count_messages(c biz.ai_conversations, p_count integer, p_content text, p_unread integer) returns void
language plpgsql as $$
declare
    v_now timestamptz := clock_timestamp();
begin
    update biz.ai_conversations v set
        message_count = c.message_count + p_count,
        unread_count = c.unread_count + p_unread,
        title = coalesce(c.title, left(p_content, 30)),
        (last_message_id, last_message_role, last_message_preview, last_message_at) = (
            select m.id, m.role, left(m.content, 100), m.created_at from biz.ai_messages m
            where m.conversation_id = c.id and m.site_id = c.site_id and m.content <> '' order by m.seq desc limit 1),
        last_active_at = v_now,
        updated_at = v_now
    where v.id = c.id and v.site_id = c.site_id;
    if c.message_count = 0 then
        update biz.users set listed_conversations = listed_conversations + 1 where id = c.user_id and site_id = c.site_id;
    end if;
end $$;
comment on function biz.count_messages is
    'Counts messages that were added to a conversation that the caller has locked; p_content is what a conversation without a title is named after';

-- As before, but for the last message.
create or replace function biz.finish_reply(
    p_site bigint,
    p_message bigint,
    p_run bigint,
    p_run_at timestamptz,
    p_state text,
    p_run_status text,
    p_saved_chars integer,
    p_unsaved text,
    p_tokens_in bigint,
    p_tokens_out bigint,
    p_charge_unknown boolean,
    p_session_id text,
    p_session_lost boolean,
    p_prompt text,
    p_prompt_version text,
    p_first_token_ms bigint,
    p_latency_ms bigint,
    p_attempts integer,
    p_upstream_request_id text,
    p_error_code text,
    p_error_message text,
    p_circuit text
) returns biz.finished_reply language plpgsql as $$
declare
    r biz.finished_reply;
    m biz.ai_messages;
    v_now timestamptz := clock_timestamp();
begin
    -- The fence: whoever finds the reply ended is late, and changes nothing. So a retry
    -- after a lost answer is harmless.
    update biz.ai_messages set
        content = left(content, p_saved_chars) || p_unsaved,
        state = p_state,
        tokens_used = p_tokens_in + p_tokens_out,
        error_code = case when p_state in ('failed', 'interrupted') then p_error_code end,
        lease_until = null,
        finished_at = v_now
    where id = p_message and site_id = p_site and state = 'streaming'
    returning * into m;
    if not found then
        select false, a.state, char_length(a.content), a.finished_at into r.applied, r.state, r.chars, r.finished_at
        from biz.ai_messages a where a.id = p_message and a.site_id = p_site;
        return r;
    end if;

    update biz.ai_conversations set
        -- What somebody has said meanwhile is newer, also where this had to wait for it.
        (last_message_id, last_message_role, last_message_preview, last_message_at) = (
            select n.id, n.role, n.preview, n.at
            from (values (last_message_id, last_message_role, last_message_preview, last_message_at, 1),
                         (m.id, m.role, left(m.content, 100), m.created_at, 2)) n (id, role, preview, at, known)
            where n.preview <> '' order by n.id desc nulls last, n.known desc limit 1),
        last_active_at = v_now,
        updated_at = v_now,
        dashscope_session_rounds = case
            when p_session_id is null then dashscope_session_rounds
            when p_session_id = dashscope_session_id then dashscope_session_rounds + 1 else 1 end,
        dashscope_session_at = case when p_session_id is null then dashscope_session_at else v_now end,
        dashscope_session_id = coalesce(p_session_id, case when not p_session_lost then dashscope_session_id end)
    where id = m.conversation_id and site_id = p_site;

    r.circuit := (biz.finish_run(
        p_site => p_site, p_run => p_run, p_run_at => p_run_at, p_status => p_run_status, p_response => m.content,
        p_tokens_in => p_tokens_in, p_tokens_out => p_tokens_out, p_charge_unknown => p_charge_unknown,
        p_session_id => p_session_id, p_prompt => p_prompt, p_prompt_version => p_prompt_version,
        p_first_token_ms => p_first_token_ms, p_latency_ms => p_latency_ms, p_attempts => p_attempts,
        p_upstream_request_id => p_upstream_request_id, p_error_code => p_error_code,
        p_error_message => p_error_message, p_circuit => p_circuit)).circuit;

    r.applied := true;
    r.state := m.state;
    r.chars := char_length(m.content);
    r.finished_at := v_now;
    return r;
end $$;
