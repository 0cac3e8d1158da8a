-- A conversation has one reply at a time, by whichever route; and nobody waits for anybody who waits for him.

-- Of a bot's replies the next is made when the one before it is there: else each would go on in a session of its own.
alter table biz.ai_trigger_jobs add column conversation_id bigint;
comment on column biz.ai_trigger_jobs.conversation_id is 'chat.session_message: where it was said; a conversation is answered in order';
update biz.ai_trigger_jobs j set conversation_id = m.conversation_id
from biz.ai_messages m where m.id = j.message_id and j.status in ('pending', 'running');
create index ai_trigger_jobs_conversation_idx on biz.ai_trigger_jobs (conversation_id, message_id)
    where conversation_id is not null and status in ('pending', 'running');

-- What follows is as before, but for what its comments say.

-- The job has its conversation.
create or replace function biz.send_session_message(
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
    insert into biz.ai_trigger_jobs (site_id, event_type, connector_type, trigger_type, app_chain, urgency, message_id, conversation_id)
    values (p_site, 'chat.session_message', 'session_api', 'session', array['app1_chat'], 1, r.message_id, c.id);
    if p_key is not null then
        insert into biz.ai_idempotency_keys (conversation_id, key, message_id) values (c.id, p_key, r.message_id)
        on conflict on constraint ai_idempotency_keys_pkey do update set message_id = excluded.message_id, created_at = excluded.created_at;
    end if;
    r.outcome := 'sent';
    return r;
end $$;

-- Callers say how long they will wait; it is less for who had to connect first.
drop function biz.begin_reply(bigint, bigint, bigint, text, text, text, bigint, integer, integer, double precision);
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
    p_lease_seconds double precision,
    p_patience_ms integer default 1200
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
    perform biz.open_run(l);
    r.run_id := l.id;
    r.run_at := l.created_at;

    perform biz.count_messages(c, 2, p_content, 0);
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

comment on function biz.begin_reply is
    'Stores a message and begins its reply, or says which refusal applies, having changed nothing';

drop function biz.begin_session_reply(bigint, bigint, integer, bigint, double precision);
-- Locks: job, conversation, site, circuit, usage.
create or replace function biz.begin_session_reply(
    p_site bigint,
    p_job bigint,
    p_claim integer,
    p_reserve bigint,
    p_lease_seconds double precision,
    p_patience_ms integer default 1200
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
    select * into c from biz.ai_conversations where id = m.conversation_id and site_id = p_site for no key update;
    select a.app_id into r.app_id from biz.agents a where a.id = c.agent_id and a.deleted_at is null;
    if not found then r.outcome := 'agent_gone'; return r; end if;
    -- A reply of the same conversation is being streamed, which looks whether this job runs: it waits.
    if exists (select from biz.ai_messages a
               where a.user_id = m.user_id and a.site_id = p_site and a.conversation_id = c.id
                 and a.state = 'streaming' and a.lease_until > now())
    then
        r.outcome := 'busy';
        r.retry_at := clock_timestamp() + interval '2 seconds';
        return r;
    end if;

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
    select coalesce(jsonb_agg(jsonb_build_object('role', h.role, 'content', left(h.content, 30000)) order by h.seq), '[]')
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
    if clock_timestamp() - statement_timestamp() > make_interval(secs => p_patience_ms / 1000.0) then
        raise exception 'a reply began too late' using errcode = 'query_canceled';
    end if;
    return r;
end $$;
comment on function biz.begin_session_reply is 'Admits and opens the run of a bot''s reply, and says what it is asked';

drop function biz.begin_job_run(bigint, bigint, integer, text, bigint, bigint, text, text, double precision);
create or replace function biz.begin_job_run(
    p_site bigint,
    p_job bigint,
    p_claim integer,
    p_app_type text,
    p_member bigint,
    p_reserve bigint,
    p_prompt text,
    p_prompt_version text,
    p_lease_seconds double precision,
    p_patience_ms integer default 1200
) returns biz.begun_run language plpgsql as $$
declare
    r biz.begun_run;
    l biz.ai_run_logs;
begin
    update biz.ai_trigger_jobs set lease_until = clock_timestamp() + make_interval(secs => p_lease_seconds)
    where id = p_job and site_id = p_site and claims = p_claim and status = 'running'
    returning trigger_type into l.trigger_type;
    if not found then r.outcome := 'lost'; return r; end if;
    l.site_id := p_site;
    l.app_type := p_app_type;
    l.member_id := p_member;
    l.job_id := p_job;
    l.request_prompt := p_prompt;
    l.prompt_version := p_prompt_version;
    l.reserved_tokens := p_reserve;
    l := biz.admit_run(l);
    r.outcome := l.status;
    r.run_id := l.id;
    r.run_at := l.created_at;
    if l.status = 'running' then
        perform biz.open_run(l);
        -- As with a reply: whoever asked has given up by now.
        if clock_timestamp() - statement_timestamp() > make_interval(secs => p_patience_ms / 1000.0) then
            raise exception 'a run began too late' using errcode = 'query_canceled';
        end if;
    else
        r.retry_at := l.finished_at;
    end if;
    return r;
end $$;
comment on function biz.begin_job_run is 'Admits and opens a run for a job that is still the caller''s';

-- A session that is gone is forgotten though there was no answer.
create or replace function biz.finish_session_reply(
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
    elsif p_session_lost then
        -- The next try need not find out again.
        update biz.ai_conversations c set dashscope_session_id = null
        from biz.ai_trigger_jobs j
        where j.id = p_job and j.site_id = p_site and c.id = j.conversation_id and c.site_id = p_site;
    end if;
    r.circuit := (biz.finish_run(
        p_site => p_site, p_run => p_run, p_run_at => p_run_at, p_status => p_status, p_response => p_response,
        p_tokens_in => p_tokens_in, p_tokens_out => p_tokens_out, p_charge_unknown => p_charge_unknown,
        p_session_id => p_session_id, p_prompt => p_prompt, p_prompt_version => p_prompt_version, p_first_token_ms => null,
        p_latency_ms => p_latency_ms, p_attempts => p_attempts, p_upstream_request_id => p_upstream_request_id,
        p_error_code => p_error_code, p_error_message => p_error_message, p_circuit => p_circuit)).circuit;
    return r;
end $$;

create or replace function biz.end_dead_reply(p_message bigint) returns boolean language plpgsql as $$
declare
    m biz.ai_messages;
    l biz.ai_run_logs;
begin
    -- One that is locked is just being ended by somebody else, or is not dead after all.
    select * into m from biz.ai_messages
    where id = p_message and state = 'streaming' and lease_until < clock_timestamp() for no key update skip locked;
    if not found then return false; end if;
    -- Nor is its conversation waited for: whoever holds it may wait for a site's usage that this transaction has
    -- written for another reply.
    perform 1 from biz.ai_conversations where id = m.conversation_id and site_id = m.site_id for no key update skip locked;
    if not found then return false; end if;
    select * into l from biz.ai_run_logs
    where message_id = m.id and site_id = m.site_id and status = 'running' and created_at >= m.created_at;
    return (biz.finish_reply(
        p_site => m.site_id, p_message => m.id, p_run => l.id, p_run_at => l.created_at,
        p_state => case m.content when '' then 'failed' else 'interrupted' end, p_run_status => 'failed',
        p_saved_chars => char_length(m.content), p_unsaved => '',
        p_tokens_in => null, p_tokens_out => null, p_charge_unknown => true,
        p_session_id => null, p_session_lost => false, p_prompt => null, p_prompt_version => l.prompt_version,
        p_first_token_ms => null,
        p_latency_ms => (extract(epoch from clock_timestamp() - m.created_at) * 1000)::bigint,
        p_attempts => l.attempts, p_upstream_request_id => null,
        p_error_code => 'interrupted', p_error_message => 'whoever made the reply died',
        p_circuit => 'neither')).applied;
end $$;

create or replace function biz.sweep_jobs(p_limit integer default 200) returns table (jobs integer, runs integer)
language plpgsql as $$
declare
    j biz.ai_trigger_jobs;
    v_dead biz.ai_trigger_jobs[];
begin
    jobs := 0; runs := 0;
    if not biz.take_sweep_lock() then return next; return; end if;
    v_dead := array(
        select d from (
            select * from biz.ai_trigger_jobs where status = 'running' and lease_until < now()
            order by lease_until limit p_limit for no key update skip locked
        ) d);
    -- All jobs and conversations before any run: who waits for a conversation must not hold a site's usage.
    foreach j in array v_dead loop
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
    end loop;
    foreach j in array v_dead loop
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
