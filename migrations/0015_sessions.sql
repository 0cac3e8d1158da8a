-- Conversations with bots, as the session API has them: a message is stored with the job that has it
-- answered, and the reply comes by itself.

-- A key makes a message that is sent again the same message, for a day.
create table biz.ai_idempotency_keys (
    conversation_id bigint not null constraint ai_idempotency_keys_conversation_id_fkey references biz.ai_conversations (id),
    key text not null,
    message_id bigint not null constraint ai_idempotency_keys_message_id_fkey references biz.ai_messages (id),
    created_at timestamptz not null default now(),
    constraint ai_idempotency_keys_pkey primary key (conversation_id, key)
);
create index ai_idempotency_keys_created_idx on biz.ai_idempotency_keys (created_at);
comment on table biz.ai_idempotency_keys is 'Idempotency-Key headers of the session API, remembered for 24 hours';

-- Somebody waits for a reply to a message, and for nothing else in the queue.
alter table biz.ai_trigger_jobs add column urgency smallint not null default 0;
alter table biz.ai_trigger_jobs add column message_id bigint;
drop index biz.ai_trigger_jobs_due_idx;
create index ai_trigger_jobs_due_idx on biz.ai_trigger_jobs (site_id, urgency desc, run_after, id) where status = 'pending';
comment on column biz.ai_trigger_jobs.urgency is 'Higher goes first within a site: 1 where somebody waits';
comment on column biz.ai_trigger_jobs.message_id is 'chat.session_message: the message to be answered';

-- What sending has in common, whichever face it comes through.

create function biz.rate_retry_at(p_site bigint, p_user bigint, p_rate_per_minute integer) returns timestamptz language plpgsql as $$
declare
    v_now timestamptz;
begin
    -- Under a lock, so that two sends at once are counted as two.
    perform 1 from biz.users where id = p_user and site_id = p_site for no key update;
    v_now := clock_timestamp();
    return (
        select max(t.created_at) filter (where t.place = p_rate_per_minute) + interval '1 minute'
        from (
            select a.created_at, row_number() over (order by a.created_at desc) as place
            from biz.ai_messages a
            where a.user_id = p_user and a.site_id = p_site and a.role = 'user' and a.created_at > v_now - interval '1 minute'
            order by a.created_at desc limit p_rate_per_minute
        ) t);
end $$;
comment on function biz.rate_retry_at is 'Locks the user; null where a message may be sent, else when the next may';

create function biz.count_messages(c biz.ai_conversations, p_count integer, p_content text, p_unread integer) returns void
language plpgsql as $$
declare
    v_now timestamptz := clock_timestamp();
begin
    update biz.ai_conversations set
        message_count = c.message_count + p_count,
        unread_count = c.unread_count + p_unread,
        title = coalesce(c.title, left(p_content, 30)),
        last_message_preview = left(p_content, 100),
        last_message_at = v_now,
        last_active_at = v_now,
        updated_at = v_now
    where id = c.id and site_id = c.site_id;
    if c.message_count = 0 then
        update biz.users set listed_conversations = listed_conversations + 1 where id = c.user_id and site_id = c.site_id;
    end if;
end $$;
comment on function biz.count_messages is 'Counts messages that were added to a conversation that the caller has locked; the last says p_content';

alter type biz.begun_reply add attribute agent_app_id text;
comment on type biz.begun_reply is
    'outcome: begun, repeat, or which refusal; agent_app_id: whom to ask instead of the chat''s own application, where it is with a bot';

-- As before, but for the bot of a conversation, for counting, and for what is read: who sends has seen what there is.
-- Locks, always in this order: conversation, user, site, circuit, usage. biz.finish_reply
-- takes message, conversation, circuit, usage; biz.end_dead_reply never waits for a message.
create or replace function biz.begin_reply(
    p_site bigint,
    p_user bigint,
    p_conversation bigint,
    p_content text,
    p_client_message_id text,
    p_app_type text,
    p_reserve bigint,
    p_rate_per_minute integer,
    p_max_streams integer,
    p_lease_seconds double precision
) returns biz.begun_reply language plpgsql as $$
declare
    r biz.begun_reply;
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

    v_retry_at := biz.rate_retry_at(p_site, p_user, p_rate_per_minute);
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
    l := biz.admit_run(l);
    v_now := l.created_at;
    if l.status <> 'running' then
        r.outcome := l.status;
        r.retry_after := biz.retry_after(l);
        return r;
    end if;

    -- From here on nothing refuses. A reply of this conversation whose maker is dead ends now, so
    -- that the maker, should it wake, finds that it is late: two never speak at once.
    perform biz.end_dead_reply(a.id) from biz.ai_messages a
    where a.user_id = p_user and a.site_id = p_site and a.conversation_id = c.id and a.state = 'streaming';

    -- The history is read before the new message is written, by the index on seq.
    select coalesce(jsonb_agg(jsonb_build_object('role', h.role, 'content', h.content) order by h.seq), '[]')
    into r.history
    from (
        select a.role, a.content, a.seq from biz.ai_messages a
        where a.conversation_id = c.id and a.site_id = p_site and a.role <> 'system' and a.content <> ''
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
    perform biz.open_run(l);
    r.run_id := l.id;
    r.run_at := l.created_at;

    perform biz.count_messages(c, 2, p_content, 0);
    if c.bot_id is not null then
        update biz.ai_conversations set read_seq = c.message_count + 2, unread_count = 0 where id = c.id and site_id = p_site;
        select a.app_id into r.agent_app_id from biz.agents a where a.id = c.agent_id and a.deleted_at is null;
    end if;

    -- The service keeps a session for an hour and 50 rounds; ten minutes are left as a margin.
    if c.dashscope_session_at > v_now - interval '50 minutes' and c.dashscope_session_rounds < 50 then
        r.session_id := c.dashscope_session_id;
    end if;
    -- Whoever asked has given up by now (STATEMENT_TIMEOUT in db.rs, 1.4 s) and been told 503: what
    -- waited so long for a lock must not begin, for nobody would make it.
    if clock_timestamp() - statement_timestamp() > interval '1.2 seconds' then
        raise exception 'a reply began too late' using errcode = 'query_canceled';
    end if;
    r.outcome := 'begun';
    return r;
end $$;

create type biz.opened_session as (
    outcome text,
    session_id uuid
);
comment on type biz.opened_session is 'created with its public id; else bot_unknown, bot_forbidden, no_agent or agent_gone';

create function biz.create_session(p_site bigint, p_user bigint, p_bot uuid, p_title text) returns biz.opened_session
language plpgsql as $$
declare
    r biz.opened_session;
    b biz.bots;
begin
    select * into b from biz.bots where id = p_bot;
    case biz.bot_access(b, p_site, p_user)
        when 'unknown' then r.outcome := 'bot_unknown'; return r;
        when 'forbidden' then r.outcome := 'bot_forbidden'; return r;
        else
    end case;
    if b.agent_id is null then r.outcome := 'no_agent'; return r; end if;
    if not exists (select from biz.agents a where a.id = b.agent_id and a.deleted_at is null) then
        r.outcome := 'agent_gone';
        return r;
    end if;
    insert into biz.ai_conversations (site_id, user_id, context_type, context_id, channel_type, title, bot_id, agent_id, last_active_at)
    values (p_site, p_user, 'bot', b.id::text, 'api', coalesce(p_title, 'Chat with ' || coalesce(b.display_name, b.name)),
            b.id, b.agent_id, clock_timestamp())
    returning public_id into r.session_id;
    r.outcome := 'created';
    return r;
end $$;
comment on function biz.create_session is 'A new conversation with a bot, if the user may use it and it has an agent';

create type biz.sent_message as (
    outcome text,
    conversation_id bigint,
    message_id bigint,
    message_at timestamptz,
    retry_after integer
);
comment on type biz.sent_message is
    'sent or repeat, with the message; else not_found, not_owner, not_a_bot, closed, paused, reply_to, key_reused, rate_limited or budget_exceeded';

-- Locks: conversation, user, site; as in biz.begin_reply.
create function biz.send_session_message(
    p_site bigint,
    p_user bigint,
    p_session uuid,
    p_content text,
    p_content_type text,
    p_reply_to bigint,
    p_key text,
    p_rate_per_minute integer,
    p_reserve bigint
) returns biz.sent_message language plpgsql as $$
declare
    r biz.sent_message;
    c biz.ai_conversations;
    m biz.ai_messages;
    v_now timestamptz;
    v_retry_at timestamptz;
begin
    select * into c from biz.ai_conversations where public_id = p_session and site_id = p_site for no key update;
    if not found then r.outcome := 'not_found'; return r; end if;
    if c.user_id <> p_user then r.outcome := 'not_owner'; return r; end if;
    if c.bot_id is null then r.outcome := 'not_a_bot'; return r; end if;
    r.conversation_id := c.id;

    if p_key is not null then
        select a.* into m from biz.ai_idempotency_keys k join biz.ai_messages a on a.id = k.message_id
        where k.conversation_id = c.id and k.key = p_key and k.created_at > now() - interval '24 hours';
        if found then
            r.message_id := m.id;
            r.message_at := m.created_at;
            r.outcome := case
                when (m.content, m.content_type, m.reply_to) is not distinct from (p_content, p_content_type, p_reply_to) then 'repeat'
                else 'key_reused' end;
            return r;
        end if;
    end if;
    if c.status <> 'active' then r.outcome := c.status; return r; end if;
    if p_reply_to is not null and not exists (
        select from biz.ai_messages a where a.id = p_reply_to and a.conversation_id = c.id and a.site_id = p_site)
    then
        r.outcome := 'reply_to';
        return r;
    end if;

    v_retry_at := biz.rate_retry_at(p_site, p_user, p_rate_per_minute);
    if v_retry_at is not null then
        r.outcome := 'rate_limited';
    else
        v_retry_at := biz.budget_retry_at(p_site, p_reserve);
        if v_retry_at is not null then r.outcome := 'budget_exceeded'; end if;
    end if;
    v_now := clock_timestamp();
    if v_retry_at is not null then
        r.retry_after := greatest(1, ceil(extract(epoch from v_retry_at - v_now)));
        return r;
    end if;

    insert into biz.ai_messages (conversation_id, site_id, user_id, seq, role, content, content_type, reply_to, created_at, finished_at)
    values (c.id, p_site, p_user, c.message_count + 1, 'user', p_content, p_content_type, p_reply_to, v_now, v_now)
    returning id, created_at into r.message_id, r.message_at;
    perform biz.count_messages(c, 1, p_content, 0);
    insert into biz.ai_trigger_jobs (site_id, event_type, connector_type, trigger_type, app_chain, urgency, message_id)
    values (p_site, 'chat.session_message', 'session_api', 'session', array['app1_chat'], 1, r.message_id);
    if p_key is not null then
        insert into biz.ai_idempotency_keys (conversation_id, key, message_id) values (c.id, p_key, r.message_id)
        on conflict on constraint ai_idempotency_keys_pkey do update set message_id = excluded.message_id, created_at = excluded.created_at;
    end if;
    r.outcome := 'sent';
    return r;
end $$;
comment on function biz.send_session_message is 'Stores a message and queues its reply, or says which refusal applies';

create function biz.no_reply() returns text language sql immutable as $$
    select 'The reply could not be made. Please send your message again later.'
$$;
comment on function biz.no_reply is 'What stands in the place of a reply that failed';

create type biz.begun_session_reply as (
    outcome text,
    conversation_id bigint,
    user_id bigint,
    nickname text,
    role text,
    content text,
    app_id text,
    session_id text,
    history jsonb,
    run_id bigint,
    run_at timestamptz,
    retry_at timestamptz
);
comment on type biz.begun_session_reply is
    'outcome: running, budget_exceeded, circuit_open, agent_gone, or lost: the job is no longer the caller''s';

-- Locks: job, site, circuit, usage.
create function biz.begin_session_reply(
    p_site bigint,
    p_job bigint,
    p_claim integer,
    p_reserve bigint,
    p_lease_seconds double precision
) returns biz.begun_session_reply language plpgsql as $$
declare
    r biz.begun_session_reply;
    c biz.ai_conversations;
    m biz.ai_messages;
    l biz.ai_run_logs;
begin
    update biz.ai_trigger_jobs set lease_until = clock_timestamp() + make_interval(secs => p_lease_seconds)
    where id = p_job and site_id = p_site and claims = p_claim and status = 'running'
    returning message_id into l.message_id;
    if not found then r.outcome := 'lost'; return r; end if;
    select * into m from biz.ai_messages where id = l.message_id and site_id = p_site;
    select * into c from biz.ai_conversations where id = m.conversation_id and site_id = p_site;
    select a.app_id into r.app_id from biz.agents a where a.id = c.agent_id and a.deleted_at is null;
    if not found then r.outcome := 'agent_gone'; return r; end if;

    l.message_id := null;
    l.site_id := p_site;
    l.user_id := m.user_id;
    l.job_id := p_job;
    l.app_type := 'app1_chat';
    l.trigger_type := 'session';
    l.request_prompt := m.content;
    l.reserved_tokens := p_reserve;
    l := biz.admit_run(l);
    r.outcome := l.status;
    if l.status <> 'running' then
        r.retry_at := l.finished_at;
        return r;
    end if;
    perform biz.open_run(l);
    r.run_id := l.id;
    r.run_at := l.created_at;
    r.conversation_id := c.id;
    r.user_id := m.user_id;
    r.content := m.content;
    select u.nickname, u.role into r.nickname, r.role from biz.users u where u.id = m.user_id and u.site_id = p_site;
    select coalesce(jsonb_agg(jsonb_build_object('role', h.role, 'content', h.content) order by h.seq), '[]')
    into r.history
    from (
        select a.role, a.content, a.seq from biz.ai_messages a
        where a.conversation_id = c.id and a.site_id = p_site and a.seq < m.seq and a.role <> 'system' and a.content <> ''
          and a.state <> 'failed'
        order by a.seq desc limit 20
    ) h;
    if c.dashscope_session_at > clock_timestamp() - interval '50 minutes' and c.dashscope_session_rounds < 50 then
        r.session_id := c.dashscope_session_id;
    end if;
    if clock_timestamp() - statement_timestamp() > interval '1.2 seconds' then
        raise exception 'a reply began too late' using errcode = 'query_canceled';
    end if;
    return r;
end $$;
comment on function biz.begin_session_reply is 'Admits and opens the run of a bot''s reply, and says what it is asked';

-- Locks: job, conversation. A job that has ended is not ended again, so a message is answered once.
create function biz.end_session_reply(
    p_site bigint,
    p_job bigint,
    p_claim integer,
    p_state text,
    p_content text,
    p_tokens bigint,
    p_session_id text,
    p_session_lost boolean,
    p_error_code text,
    p_error_message text
) returns boolean language plpgsql as $$
declare
    c biz.ai_conversations;
    v_message bigint;
    v_now timestamptz := clock_timestamp();
begin
    update biz.ai_trigger_jobs set
        status = case p_state when 'complete' then 'succeeded' else 'failed' end, step = 1, lease_until = null, finished_at = v_now,
        error_code = p_error_code, error_message = p_error_message
    where id = p_job and site_id = p_site and claims = p_claim and status = 'running'
    returning message_id into v_message;
    if not found then return false; end if;
    select v.* into c from biz.ai_conversations v
    where v.id = (select m.conversation_id from biz.ai_messages m where m.id = v_message and m.site_id = p_site) for no key update;
    insert into biz.ai_messages (conversation_id, site_id, user_id, seq, role, content, state, reply_to, tokens_used, error_code, created_at, finished_at)
    values (c.id, p_site, c.user_id, c.message_count + 1, 'assistant', p_content, p_state, v_message, p_tokens,
            case p_state when 'failed' then p_error_code end, v_now, v_now);
    perform biz.count_messages(c, 1, p_content, 1);
    if p_session_id is not null or p_session_lost then
        update biz.ai_conversations set
            dashscope_session_rounds = case when p_session_id = c.dashscope_session_id then c.dashscope_session_rounds + 1 else 1 end,
            dashscope_session_at = v_now,
            dashscope_session_id = p_session_id
        where id = c.id and site_id = p_site;
    end if;
    return true;
end $$;
comment on function biz.end_session_reply is
    'Ends the job of a message with a reply, unread, or with a message that says that there is none; false for who has lost the job';

-- The job first, as everywhere; the run is settled whatever became of the job, for it was paid.
create function biz.finish_session_reply(
    p_site bigint,
    p_job bigint,
    p_claim integer,
    p_run bigint,
    p_run_at timestamptz,
    p_status text,
    p_prompt text,
    p_prompt_version text,
    p_response text,
    p_tokens_in bigint,
    p_tokens_out bigint,
    p_charge_unknown boolean,
    p_session_id text,
    p_session_lost boolean,
    p_latency_ms bigint,
    p_attempts integer,
    p_upstream_request_id text,
    p_error_code text,
    p_error_message text,
    p_circuit text
) returns biz.finished_run language plpgsql as $$
declare
    r biz.finished_run;
begin
    r.applied := true;
    if p_status = 'success' then
        r.applied := biz.end_session_reply(
            p_site => p_site, p_job => p_job, p_claim => p_claim, p_state => 'complete', p_content => p_response,
            p_tokens => p_tokens_in + p_tokens_out, p_session_id => p_session_id, p_session_lost => p_session_lost,
            p_error_code => null, p_error_message => null);
    end if;
    r.circuit := (biz.finish_run(
        p_site => p_site, p_run => p_run, p_run_at => p_run_at, p_status => p_status, p_response => p_response,
        p_tokens_in => p_tokens_in, p_tokens_out => p_tokens_out, p_charge_unknown => p_charge_unknown,
        p_session_id => p_session_id, p_prompt => p_prompt, p_prompt_version => p_prompt_version, p_first_token_ms => null,
        p_latency_ms => p_latency_ms, p_attempts => p_attempts, p_upstream_request_id => p_upstream_request_id,
        p_error_code => p_error_code, p_error_message => p_error_message, p_circuit => p_circuit)).circuit;
    return r;
end $$;
comment on function biz.finish_session_reply is
    'Settles the run of a bot''s reply and, where it succeeded and the job is still the caller''s, stores the reply';

create or replace function biz.sweep_jobs(p_limit integer default 200) returns table (jobs integer, runs integer)
language plpgsql as $$
declare
    j biz.ai_trigger_jobs;
begin
    jobs := 0; runs := 0;
    if not biz.take_sweep_lock() then return next; return; end if;
    for j in
        select * from biz.ai_trigger_jobs where status = 'running' and lease_until < now()
        order by lease_until limit p_limit for no key update skip locked
    loop
        if j.message_id is not null and j.attempts >= 3 then
            perform biz.end_session_reply(
                p_site => j.site_id, p_job => j.id, p_claim => j.claims, p_state => 'failed', p_content => biz.no_reply(),
                p_tokens => null, p_session_id => null, p_session_lost => false,
                p_error_code => 'interrupted', p_error_message => 'whoever worked on it died');
        end if;
        -- The fifth time that it takes its worker with it is the last.
        update biz.ai_trigger_jobs set
            status = case when j.attempts < 5 then 'pending' else 'failed' end,
            lease_until = null, run_after = clock_timestamp(), error_code = 'interrupted',
            error_message = 'whoever worked on it died',
            finished_at = case when j.attempts < 5 then null else clock_timestamp() end
        where id = j.id and status = 'running';
        delete from biz.ai_cache where site_id = j.site_id and job_id = j.id and status = 'generating';
        perform biz.end_dead_run(l) from biz.ai_run_logs l
        where l.status = 'running' and l.site_id = j.site_id and l.job_id = j.id and l.created_at >= j.created_at;
        jobs := jobs + 1;
    end loop;
    -- What a worker that lives could not settle. No call takes so long.
    perform biz.end_dead_run(l) from biz.ai_run_logs l
    where l.status = 'running' and l.message_id is null and l.created_at < now() - interval '10 minutes'
    order by l.created_at limit p_limit;
    get diagnostics runs = row_count;
    return next;
end $$;

create function biz.sweep_idempotency_keys(p_limit integer default 1000) returns integer language plpgsql as $$
declare
    v_removed integer;
begin
    if not biz.take_sweep_lock() then return 0; end if;
    with old as (
        select conversation_id, key from biz.ai_idempotency_keys
        where created_at < now() - interval '24 hours' order by created_at limit p_limit for update skip locked
    )
    delete from biz.ai_idempotency_keys k using old where k.conversation_id = old.conversation_id and k.key = old.key;
    get diagnostics v_removed = row_count;
    return v_removed;
end $$;
comment on function biz.sweep_idempotency_keys is 'Forgets keys after 24 hours; says how many';
