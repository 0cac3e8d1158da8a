create type new_message as (
    content text,
    client_message_id text,
    edits bigint
);

comment on type new_message is
    'content: null if the last question is asked again. edits: the question that this one replaces';

create type begun_reply as (
    outcome text,
    conversation_id bigint,
    user_message_id bigint,
    user_message_at timestamptz,
    message_id bigint,
    message_at timestamptz,
    message_state text,
    run_id bigint,
    run_at timestamptz,
    reserved_tokens bigint,
    session_id text,
    history_roles text[],
    history_texts text[],
    retry_after integer,
    application jsonb,
    content text,
    quota jsonb
);

comment on type begun_reply is
    'outcome: begun, repeat, or the refusal. history: newest turn first, null if there is a '
    'session_id. application: the application to call. content: the question. quota: the one '
    'that refuses, with subject_type, subject_id and period';

-- Locks, always in this order: conversation, user, site, circuit or calls, usage. finish_reply
-- takes message, conversation, circuit, usage; finish_orphaned_reply waits for neither message nor
-- conversation.
create function begin_reply(
    p_site bigint,
    p_user bigint,
    p_conversation bigint,
    p_message new_message,
    p_app_id text,
    p_rule token_rule,
    p_rate_per_minute integer,
    p_max_streams integer,
    p_lease_seconds double precision,
    p_history history_limits,
    p_until timestamptz default 'infinity'
) returns begun_reply language plpgsql as $$
declare
    r begun_reply;
    l biz.ai_run_logs;
    v_app application;
    v_owner bigint;
    v_status text;
    v_seq bigint;
    v_bot uuid;
    v_agent uuid;
    v_session text;
    v_turns turns;
    v_message bigint;
    v_content text;
    v_retry_at timestamptz;
    v_streams bigint;
    v_dead bigint;
    v_busy bigint;
    v_again boolean := p_message.content is null;
    v_reply bigint;
    x last_exchange;
begin
    -- Another site's conversation does not exist; another user's is refused.
    select c.user_id, c.status, c.message_count + 1, c.bot_id, c.agent_id,
           live_session(c.dashscope_session_id, c.dashscope_session_at,
                        c.dashscope_session_rounds, p_history)
    into v_owner, v_status, v_seq, v_bot, v_agent, v_session
    from biz.ai_conversations c
    where c.id = p_conversation and c.site_id = p_site for no key update;
    if not found then r.outcome := 'not_found'; return r; end if;
    if v_owner <> p_user then r.outcome := 'not_owner'; return r; end if;
    r.conversation_id := p_conversation;

    -- A repeated message returns the existing reply. It is neither refused nor counted.
    if p_message.client_message_id is not null then
        select a.id, a.content, a.reply_to
        into v_message, v_content, v_reply
        from biz.ai_messages a
        where a.conversation_id = p_conversation and a.site_id = p_site
          and a.client_message_id = p_message.client_message_id;
        if found then
            -- Only the record of a question that was asked again has no text.
            if v_content <> coalesce(p_message.content, '') then
                r.outcome := 'content_differs';
                return r;
            end if;
            r.outcome := 'repeat';
            if not v_again then
                -- The newest one, if the question was asked again.
                select a.id into v_reply from biz.ai_messages a
                where a.reply_to = v_message and a.site_id = p_site and a.role = 'assistant'
                order by a.created_at desc, a.id desc limit 1;
            end if;
            select q.id, q.created_at, a.id, a.created_at, a.state
            into r.user_message_id, r.user_message_at, r.message_id, r.message_at, r.message_state
            from biz.ai_messages a
            join biz.ai_messages q on q.id = a.reply_to and q.site_id = p_site
            where a.id = v_reply and a.site_id = p_site;
            return r;
        end if;
    end if;
    if v_again or p_message.edits is not null then
        x := last_exchange(p_site, p_user, p_conversation, v_seq - 1, p_message.edits);
        if x.outcome is not null then r.outcome := x.outcome; return r; end if;
    end if;
    r.content := coalesce(p_message.content, x.content);

    -- Only an active conversation accepts messages, one reply at a time. A reply whose lease has
    -- expired is dead. One query reads all replies of the user, under the user's lock. The lock on
    -- this conversation keeps other sessions from starting a reply in it.
    if v_status <> 'active' then r.outcome := 'closed'; return r; end if;
    v_retry_at := rate_retry_at(p_site, p_user, p_rate_per_minute);
    select max(a.id) filter (where a.conversation_id = p_conversation and a.lease_until > now()),
           count(*) filter (where a.conversation_id = p_conversation),
           count(*) filter (where a.lease_until > clock_timestamp())
    into v_busy, v_dead, v_streams
    from biz.ai_messages a
    where a.user_id = p_user and a.site_id = p_site and a.state = 'streaming';
    if v_busy is not null then r.message_id := v_busy; r.outcome := 'busy'; return r; end if;
    if v_bot is not null then
        -- At each message: a bot may have been disabled, or a grant revoked.
        r.outcome := (select bot_access(b, p_site, p_user) from biz.bots b where b.id = v_bot);
        if r.outcome <> 'allowed' then return r; end if;
        r.outcome := null;
        -- A reply made by the job worker has no message row before it is done. So check the job.
        if exists (select from biz.ai_trigger_jobs j
                   where j.conversation_id = p_conversation and j.status = 'running')
        then
            r.outcome := 'busy';
            return r;
        end if;
        select a.app_id, a.fallback_application_id into v_app.app_id, v_app.fallback_app_id
        from biz.agents a
        where a.id = v_agent and a.deleted_at is null and a.app_id is not null;
        if not found then r.outcome := 'agent_gone'; return r; end if;
    else
        v_app := application_of(p_site, 'app1_chat', p_app_id);
        if v_app.app_id is null then r.outcome := 'app_disabled'; return r; end if;
    end if;

    if v_retry_at is not null then
        r.outcome := 'rate_limited';
        r.retry_after := greatest(1, ceil(extract(epoch from v_retry_at - clock_timestamp())));
        return r;
    end if;
    if v_streams >= p_max_streams then
        r.outcome := 'rate_limited';
        r.retry_after := 1;
        return r;
    end if;

    -- With a live session, only the new message is sent to DashScope. If DashScope has dropped the
    -- session, the relay reads the turns then. The end of a dead reply drops the session, too, and
    -- so does a new exchange that replaces the last one and takes its numbers.
    if x.question_id is not null then
        v_seq := v_seq - 2;
    elsif v_dead = 0 then
        r.session_id := v_session;
    end if;
    if r.session_id is null and v_seq > 1 then
        v_turns := turns_before(p_site, p_conversation, v_seq, p_history.history_turns);
        r.history_roles := v_turns.roles;
        r.history_texts := v_turns.texts;
    end if;

    l.site_id := p_site;
    l.user_id := p_user;
    l.conversation_id := p_conversation;
    l.bot_id := v_bot;
    l.app_type := 'app1_chat';
    l.trigger_type := 'chat';
    l.request_prompt := r.content;
    l := admit_run(l, p_rule, char_length(r.content) + turns_length(v_turns), v_app);
    if l.status is distinct from 'running' then
        r.outcome := coalesce(l.status, 'rate_limited');
        r.retry_after := retry_after(l);
        if l.status = 'quota_exceeded' then r.quota := l.error_message::jsonb; end if;
        return r;
    end if;

    v_app := admitted_application(v_app, l.app_id);
    -- A session belongs to one application.
    if v_app.is_fallback and r.session_id is not null then
        r.session_id := null;
        v_turns := turns_before(p_site, p_conversation, v_seq, p_history.history_turns);
        r.history_roles := v_turns.roles;
        r.history_texts := v_turns.texts;
    end if;

    -- No refusal after this point. End dead replies of this conversation now. If their function is
    -- still alive, its next checkpoint fails, so two replies never run at once.
    if v_dead > 0 then
        perform finish_orphaned_reply(a.id) from biz.ai_messages a
        where a.user_id = p_user and a.site_id = p_site and a.conversation_id = p_conversation
          and a.state = 'streaming';
        -- Such a reply renewed its lease meanwhile. The exception rolls back everything, including
        -- the admission above.
        if exists (select from biz.ai_messages a
                   where a.user_id = p_user and a.site_id = p_site
                     and a.conversation_id = p_conversation and a.state = 'streaming')
        then
            raise exception 'a reply was not dead' using errcode = 'query_canceled';
        end if;
    end if;
    if x.question_id is not null then
        perform supersede_exchange(p_site, p_conversation, x, p_message.content, l.created_at);
    end if;

    v_message := nextval('biz.ai_messages_id_seq');
    r.message_id := nextval('biz.ai_messages_id_seq');
    insert into biz.ai_messages (
        id, conversation_id, site_id, user_id, seq, role, content, state, client_message_id,
        reply_to, lease_until, created_at, finished_at, superseded_at)
    overriding system value values
        -- A question that is asked again keeps its row. This row records it, so that it counts for
        -- the rate and can be repeated.
        (v_message, p_conversation, p_site, p_user, case when v_again then -v_message else v_seq end,
         'user', coalesce(p_message.content, ''), 'complete', p_message.client_message_id,
         case when v_again then r.message_id end, null, l.created_at, l.created_at,
         case when v_again then l.created_at end),
        (r.message_id, p_conversation, p_site, p_user, v_seq + 1, 'assistant', '', 'streaming',
         null, case when v_again then x.question_id else v_message end,
         l.created_at + make_interval(secs => p_lease_seconds), l.created_at, null, null);
    r.user_message_id := case when v_again then x.question_id else v_message end;
    r.user_message_at := case when v_again then x.question_at else l.created_at end;
    r.message_at := l.created_at;
    r.message_state := 'streaming';
    l.message_id := r.message_id;
    perform open_run(l);
    r.run_id := l.id;
    r.run_at := l.created_at;
    r.reserved_tokens := l.reserved_tokens;
    if not v_again then
        perform count_messages(
            p_site, p_conversation, case when x.question_id is null then 2 else 0 end, v_message,
            'user', p_message.content, l.created_at, 0, v_bot is not null);
    end if;

    -- After this time, the caller has returned 503. The reply must not begin, because nothing would
    -- make it.
    if clock_timestamp() > p_until then
        raise exception 'a reply began too late' using errcode = 'query_canceled';
    end if;
    r.application := to_jsonb(v_app);
    r.outcome := 'begun';
    return r;
end $$;

comment on function begin_reply is
    'Stores a message and begins its reply. Returns a refusal if one applies; then nothing changes';
