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
    session_id text,
    history jsonb,
    retry_after integer,
    agent_app_id text
);

comment on type begun_reply is
    'outcome: begun, repeat, or which refusal; agent_app_id: whom to ask instead of the chat''s own application, where it is with a bot';

create function begin_reply(
    p_site bigint,
    p_user bigint,
    p_conversation bigint,
    p_content text,
    p_client_message_id text,
    p_app_type text,
    p_reserve bigint,
    p_rate_per_minute integer,
    p_max_streams integer,
    p_lease_seconds double precision,
    p_patience_ms integer default 1200
) returns begun_reply language plpgsql as $$
declare
    r begun_reply;
    c biz.ai_conversations;
    m biz.ai_messages;
    l biz.ai_run_logs;
    v_now timestamptz;
    v_retry_at timestamptz;
begin
    -- Object: another site's does not exist, another user's is not theirs.
    select * into c from biz.ai_conversations
    where id = p_conversation and site_id = p_site for no key update;
    if not found then r.outcome := 'not_found'; return r; end if;
    if c.user_id <> p_user then r.outcome := 'not_owner'; return r; end if;
    r.conversation_id := c.id;

    -- A repeat of the same message is that message: it is neither refused nor counted.
    if p_client_message_id is not null then
        select * into m from biz.ai_messages
        where conversation_id = c.id and site_id = p_site and client_message_id = p_client_message_id;
        if found then
            if m.content <> p_content then r.outcome := 'content_differs'; return r; end if;
            r.outcome := 'repeat';
            r.user_message_id := m.id;
            r.user_message_at := m.created_at;
            select a.id, a.created_at, a.state into r.message_id, r.message_at, r.message_state
            from biz.ai_messages a
            where a.conversation_id = c.id and a.site_id = p_site and a.seq = m.seq + 1;
            return r;
        end if;
    end if;

    -- State: open, and one reply at a time. A reply whose lease ran out is dead.
    if c.status <> 'active' then r.outcome := 'closed'; return r; end if;
    select a.id into r.message_id from biz.ai_messages a
    where a.user_id = p_user and a.site_id = p_site and a.conversation_id = c.id
      and a.state = 'streaming' and a.lease_until > now();
    if found then r.outcome := 'busy'; return r; end if;
    if c.bot_id is not null then
        -- A reply that a worker makes is no message before it is done.
        if exists (select from biz.ai_trigger_jobs j where j.conversation_id = c.id and j.status = 'running') then
            r.message_id := null;
            r.outcome := 'busy';
            return r;
        end if;
        select a.app_id into r.agent_app_id from biz.agents a where a.id = c.agent_id and a.deleted_at is null;
        if not found then r.outcome := 'agent_gone'; return r; end if;
    end if;

    v_retry_at := rate_retry_at(p_site, p_user, p_rate_per_minute);
    v_now := clock_timestamp();
    if v_retry_at is not null then
        r.outcome := 'rate_limited';
        r.retry_after := greatest(1, ceil(extract(epoch from v_retry_at - v_now)));
        return r;
    end if;
    if (select count(*) from biz.ai_messages a
        where a.user_id = p_user and a.site_id = p_site and a.state = 'streaming' and a.lease_until > v_now) >= p_max_streams
    then
        r.outcome := 'rate_limited';
        r.retry_after := 1;
        return r;
    end if;

    l.site_id := p_site;
    l.user_id := p_user;
    l.app_type := p_app_type;
    l.trigger_type := 'chat';
    l.request_prompt := p_content;
    l.reserved_tokens := p_reserve;
    l := admit_run(l);
    v_now := l.created_at;
    if l.status <> 'running' then
        r.outcome := l.status;
        r.retry_after := retry_after(l);
        return r;
    end if;

    -- From here on nothing refuses. A reply of this conversation whose maker is dead ends now, so
    -- that the maker, should it wake, finds that it is late: two never speak at once.
    perform finish_orphaned_reply(a.id) from biz.ai_messages a
    where a.user_id = p_user and a.site_id = p_site and a.conversation_id = c.id and a.state = 'streaming';
    -- One that was taken for dead has given a sign of life meanwhile. What was admitted above is undone with the rest.
    if exists (select from biz.ai_messages a
               where a.user_id = p_user and a.site_id = p_site and a.conversation_id = c.id and a.state = 'streaming')
    then
        raise exception 'a reply was not dead' using errcode = 'query_canceled';
    end if;

    -- The history is read before the new message is written, by the index on seq.
    select coalesce(jsonb_agg(jsonb_build_object('role', h.role, 'content', left(h.content, 30000)) order by h.seq), '[]')
    into r.history
    from (
        select a.role, a.content, a.seq from biz.ai_messages a
        where a.conversation_id = c.id and a.site_id = p_site and a.role <> 'system' and a.content <> '' and a.state <> 'failed'
        order by a.seq desc limit 20
    ) h;

    insert into biz.ai_messages (conversation_id, site_id, user_id, seq, role, content, client_message_id, created_at, finished_at)
    values (c.id, p_site, p_user, c.message_count + 1, 'user', p_content, p_client_message_id, v_now, v_now)
    returning id, created_at into r.user_message_id, r.user_message_at;
    insert into biz.ai_messages (conversation_id, site_id, user_id, seq, role, state, reply_to, lease_until, created_at)
    values (c.id, p_site, p_user, c.message_count + 2, 'assistant', 'streaming', r.user_message_id,
            v_now + make_interval(secs => p_lease_seconds), v_now)
    returning id, created_at, state into r.message_id, r.message_at, r.message_state;
    l.message_id := r.message_id;
    perform open_run(l);
    r.run_id := l.id;
    r.run_at := l.created_at;

    perform count_messages(c, 2, p_content, 0);
    if c.bot_id is not null then
        update biz.ai_conversations set read_seq = c.message_count + 2, unread_count = 0 where id = c.id and site_id = p_site;
    end if;

    -- The service keeps a session for an hour and 50 rounds; ten minutes are left as a margin.
    if c.dashscope_session_at > v_now - interval '50 minutes' and c.dashscope_session_rounds < 50 then
        r.session_id := c.dashscope_session_id;
    end if;
    -- Whoever asked has given up by now, and been told 503: what waited so long for a lock must not begin, for
    -- nobody would make it.
    if clock_timestamp() - statement_timestamp() > make_interval(secs => p_patience_ms / 1000.0) then
        raise exception 'a reply began too late' using errcode = 'query_canceled';
    end if;
    r.outcome := 'begun';
    return r;
end $$;

comment on function begin_reply is
    'Stores a message and begins its reply, or says which refusal applies, having changed nothing';
