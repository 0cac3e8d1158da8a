-- What every run has in common, whether it makes a reply or works in the background: it is admitted
-- by budget and circuit, opened with a reservation, and settled when it ends.

-- When the limit in the way is lifted: the site's next day or month, in its zone. Null where there is room.
-- Under the site's lock, so that two who ask at once see each other's reservation.
create function biz.budget_retry_at(p_site bigint, p_reserve bigint) returns timestamptz language plpgsql as $$
declare
    b biz.ai_budgets;
    v_zone text;
    v_today date;
    v_day_used bigint;
    v_month_used bigint;
begin
    select s.timezone into v_zone from biz.sites s where s.id = p_site for no key update;
    v_today := biz.local_day(v_zone, clock_timestamp());
    select * into b from biz.ai_budgets where site_id = p_site or site_id is null order by site_id nulls last limit 1;
    select coalesce(sum(u.tokens + u.reserved_tokens) filter (where u.day = v_today), 0),
           coalesce(sum(u.tokens + u.reserved_tokens), 0)
    into v_day_used, v_month_used
    from biz.ai_usage_daily u
    where u.site_id = p_site and u.day >= date_trunc('month', v_today)::date and u.day <= v_today;
    return case
        when v_month_used + p_reserve > b.monthly_limit
            then (date_trunc('month', v_today::timestamp) + interval '1 month') at time zone v_zone
        when v_day_used + p_reserve > b.daily_limit then (v_today + 1)::timestamp at time zone v_zone
    end;
end $$;
comment on function biz.budget_retry_at is
    'Locks the site; null where its budget has room for so many tokens, else when it may have';

-- l says for what: site, app, trigger, reserved_tokens and what else is known. It comes back with its
-- id, day and time, and with the status running, or that of the refusal; then it is logged and
-- finished_at says when to ask again.
create function biz.admit_run(l biz.ai_run_logs) returns biz.ai_run_logs language plpgsql as $$
declare
    v_retry_at timestamptz := biz.budget_retry_at(l.site_id, l.reserved_tokens);
begin
    l.id := nextval('biz.ai_run_logs_id_seq');
    l.created_at := clock_timestamp();
    l.local_day := (select biz.local_day(s.timezone, l.created_at) from biz.sites s where s.id = l.site_id);
    if v_retry_at is not null then
        l.status := 'budget_exceeded';
    elsif biz.pass_circuit(l.app_type, l.id) = 'circuit_open' then
        l.status := 'circuit_open';
        -- What a probe under way will show is known long before its lease is over.
        select case k.state when 'half_open' then l.created_at + interval '5 seconds' else k.retry_at end
        into v_retry_at from biz.ai_circuits k where k.app_type = l.app_type;
    else
        l.status := 'running';
        return l;
    end if;
    -- Such refusals are runs too: they are seen on the dashboard.
    insert into biz.ai_run_logs (id, site_id, user_id, app_type, trigger_type, member_id, job_id, status, alert_status, prompt_version,
                                 request_prompt, local_day, latency_ms, error_code, created_at, finished_at)
    values (l.id, l.site_id, l.user_id, l.app_type, l.trigger_type, l.member_id, l.job_id, l.status,
            case l.status when 'circuit_open' then 'pending' end, l.prompt_version,
            l.request_prompt, l.local_day, 0, l.status, l.created_at, l.created_at);
    insert into biz.ai_usage_daily as u (site_id, day, app_type, calls, failures)
    values (l.site_id, l.local_day, l.app_type, 1, 1)
    on conflict on constraint ai_usage_daily_pkey do update set calls = u.calls + 1, failures = u.failures + 1;
    l.finished_at := greatest(v_retry_at, l.created_at + interval '1 second');
    return l;
end $$;
comment on function biz.admit_run is
    'Whether a run may begin, by budget and circuit; a refusal is logged, and its finished_at is when to ask again';

create function biz.retry_after(l biz.ai_run_logs) returns integer language sql immutable as $$
    select ceil(extract(epoch from l.finished_at - l.created_at))::integer
$$;
comment on function biz.retry_after is 'Seconds after which a run that was not admitted may be';

create function biz.open_run(l biz.ai_run_logs) returns void language plpgsql as $$
begin
    insert into biz.ai_usage_daily as u (site_id, day, app_type, reserved_tokens)
    values (l.site_id, l.local_day, l.app_type, l.reserved_tokens)
    on conflict on constraint ai_usage_daily_pkey do update set reserved_tokens = u.reserved_tokens + l.reserved_tokens;
    insert into biz.ai_run_logs (id, site_id, user_id, app_type, trigger_type, member_id, message_id, job_id, status, prompt_version,
                                 reserved_tokens, local_day, request_prompt, created_at)
    values (l.id, l.site_id, l.user_id, l.app_type, l.trigger_type, l.member_id, l.message_id, l.job_id, 'running', l.prompt_version,
            l.reserved_tokens, l.local_day, l.request_prompt, l.created_at);
end $$;
comment on function biz.open_run is 'Reserves the tokens of a run that was admitted, and logs it as running';

create type biz.finished_run as (
    applied boolean,
    circuit text
);
comment on type biz.finished_run is
    'applied: false when the run had already ended; circuit: opened or closed, where this end did that';

create function biz.finish_run(
    p_site bigint,
    p_run bigint,
    p_run_at timestamptz,
    p_status text,
    p_response text,
    p_tokens_in bigint,
    p_tokens_out bigint,
    p_charge_unknown boolean,
    p_session_id text,
    p_prompt text,
    p_prompt_version text,
    p_first_token_ms bigint,
    p_latency_ms bigint,
    p_attempts integer,
    p_upstream_request_id text,
    p_error_code text,
    p_error_message text,
    p_circuit text
) returns biz.finished_run language plpgsql as $$
declare
    r biz.finished_run;
    l biz.ai_run_logs;
    v_ok integer := (p_status in ('success', 'stopped'))::integer;
begin
    update biz.ai_run_logs set
        status = p_status,
        alert_status = case when p_status in ('failed', 'timeout') then 'pending' end,
        request_prompt = coalesce(p_prompt, request_prompt),
        prompt_version = coalesce(p_prompt_version, prompt_version),
        response_text = p_response,
        tokens_in = p_tokens_in,
        tokens_out = p_tokens_out,
        tokens_used = p_tokens_in + p_tokens_out,
        tokens_estimated = p_tokens_in is null and p_charge_unknown,
        first_token_ms = p_first_token_ms,
        latency_ms = p_latency_ms,
        attempts = p_attempts,
        session_id = p_session_id,
        upstream_request_id = p_upstream_request_id,
        error_code = p_error_code,
        error_message = p_error_message,
        finished_at = clock_timestamp()
    where id = p_run and created_at = p_run_at and site_id = p_site and status = 'running'
    returning * into l;
    r.applied := found;
    if not r.applied then return r; end if;

    r.circuit := biz.record_circuit(l.app_type, l.id, p_circuit);

    update biz.ai_usage_daily u set
        calls = u.calls + 1,
        successes = u.successes + v_ok,
        failures = u.failures + 1 - v_ok,
        tokens = u.tokens + coalesce(l.tokens_used, case when p_charge_unknown then l.reserved_tokens else 0 end),
        reserved_tokens = u.reserved_tokens - l.reserved_tokens,
        latency_sum_ms = u.latency_sum_ms + p_latency_ms,
        latency_histogram[biz.latency_bucket(p_latency_ms)] = u.latency_histogram[biz.latency_bucket(p_latency_ms)] + 1
    where u.site_id = p_site and u.day = l.local_day and u.app_type = l.app_type;
    return r;
end $$;
comment on function biz.finish_run is
    'Ends a run: log, circuit, usage and budget. A run that has ended is left as it is';

-- As before, but for what every run has in common.
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

    -- Rates of the user, under a lock, so that two sends at once are counted as two.
    perform 1 from biz.users where id = p_user and site_id = p_site for no key update;
    v_now := clock_timestamp();
    select max(t.created_at) filter (where t.place = p_rate_per_minute) into v_retry_at
    from (
        select a.created_at, row_number() over (order by a.created_at desc) as place
        from biz.ai_messages a
        where a.user_id = p_user and a.site_id = p_site and a.role = 'user'
          and a.created_at > v_now - interval '1 minute'
        order by a.created_at desc limit p_rate_per_minute
    ) t;
    if v_retry_at is not null then
        r.outcome := 'rate_limited';
        r.retry_after := greatest(1, ceil(extract(epoch from v_retry_at + interval '1 minute' - v_now)));
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

    update biz.ai_conversations set
        message_count = c.message_count + 2,
        title = coalesce(c.title, left(p_content, 30)),
        last_message_preview = left(p_content, 100),
        last_message_at = v_now,
        last_active_at = v_now,
        updated_at = v_now
    where id = c.id and site_id = p_site;
    if c.message_count = 0 then
        update biz.users set listed_conversations = listed_conversations + 1 where id = p_user and site_id = p_site;
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

-- As before, but for what every run has in common.
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
        last_message_preview = case when m.content = '' then last_message_preview else left(m.content, 100) end,
        last_message_at = v_now,
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
