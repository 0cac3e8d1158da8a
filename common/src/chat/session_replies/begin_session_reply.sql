create type begun_session_reply as (
    outcome text,
    message_id bigint,
    user_id bigint,
    nickname text,
    role text,
    content text,
    application jsonb,
    session_id text,
    history_roles text[],
    history_texts text[],
    run_id bigint,
    run_at timestamptz,
    reserved_tokens bigint,
    retry_at timestamptz
);

comment on type begun_session_reply is
    'outcome: running, lost if another worker has the job, or why there is no run: busy, '
    'budget_exceeded, quota_exceeded, circuit_open, rate_limited, agent_gone, bot_disabled, '
    'not_granted, unknown (the bot), user_disabled, deleted (the conversation). history: newest turn first, null if there is a session_id. '
    'application: the application to call';

-- Locks: job, conversation, site, circuit, usage.
create function begin_session_reply(
    p_site bigint,
    p_job bigint,
    p_claim integer,
    p_rule token_rule,
    p_lease_seconds double precision,
    p_history history_limits,
    p_until timestamptz default 'infinity'
) returns begun_session_reply language plpgsql as $$
declare
    r begun_session_reply;
    c biz.ai_conversations;
    m biz.ai_messages;
    l biz.ai_run_logs;
    v_app application;
    v_turns turns;
begin
    update biz.ai_trigger_jobs set
        lease_until = clock_timestamp() + make_interval(secs => p_lease_seconds)
    where id = p_job and site_id = p_site and claims = p_claim and status = 'running'
    returning message_id into l.message_id;
    if not found then r.outcome := 'lost'; return r; end if;
    select * into m from biz.ai_messages where id = l.message_id and site_id = p_site;
    select * into c from biz.ai_conversations where id = m.conversation_id and site_id = p_site
    for no key update;
    if not found then r.outcome := 'deleted'; return r; end if;
    select a.app_id, a.fallback_application_id into v_app.app_id, v_app.fallback_app_id
    from biz.agents a
    where a.id = c.agent_id and a.deleted_at is null and a.app_id is not null;
    if not found then r.outcome := 'agent_gone'; return r; end if;
    select case when u.status = 'approved' then bot_access(b, p_site, u.id) else 'user_disabled' end
    into r.outcome
    from biz.users u cross join biz.bots b
    where u.id = m.user_id and u.site_id = p_site and b.id = c.bot_id;
    if r.outcome <> 'allowed' then return r; end if;
    -- A reply of this conversation is being streamed. This job waits for it. begin_reply checks for
    -- a running job in the same way.
    if exists (select from biz.ai_messages a
               where a.user_id = m.user_id and a.site_id = p_site and a.conversation_id = c.id
                 and a.state = 'streaming' and a.lease_until > now())
    then
        r.outcome := 'busy';
        r.retry_at := clock_timestamp() + interval '2 seconds';
        return r;
    end if;

    -- As in begin_reply: the session, else the history.
    r.session_id := live_session(c.dashscope_session_id, c.dashscope_session_at,
                                 c.dashscope_session_rounds, p_history);
    if r.session_id is null and m.seq > 1 then
        v_turns := turns_before(p_site, c.id, m.seq, p_history.history_turns);
    end if;

    l.message_id := null;
    l.site_id := p_site;
    l.user_id := m.user_id;
    l.job_id := p_job;
    l.conversation_id := c.id;
    l.bot_id := c.bot_id;
    l.app_type := 'app1_chat';
    l.trigger_type := 'session';
    l.request_prompt := m.content;
    l := admit_run(l, p_rule, char_length(m.content) + turns_length(v_turns), v_app);
    r.outcome := coalesce(l.status, 'rate_limited');
    if r.outcome <> 'running' then
        r.retry_at := l.finished_at;
        return r;
    end if;
    perform open_run(l);
    v_app := admitted_application(v_app, l.app_id);
    -- A session belongs to one application.
    if v_app.is_fallback and r.session_id is not null then
        r.session_id := null;
        v_turns := turns_before(p_site, c.id, m.seq, p_history.history_turns);
    end if;
    r.history_roles := v_turns.roles;
    r.history_texts := v_turns.texts;
    r.application := to_jsonb(v_app);
    r.run_id := l.id;
    r.run_at := l.created_at;
    r.reserved_tokens := l.reserved_tokens;
    r.message_id := m.id;
    r.user_id := m.user_id;
    r.content := m.content;
    select u.nickname, u.role into r.nickname, r.role from biz.users u
    where u.id = m.user_id and u.site_id = p_site;
    if clock_timestamp() > p_until then
        raise exception 'a reply began too late' using errcode = 'query_canceled';
    end if;
    return r;
end $$;

comment on function begin_session_reply is
    'Admits and opens the run of a bot''s reply; returns the message, its context and the application';
