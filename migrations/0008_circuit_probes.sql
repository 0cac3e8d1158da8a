-- An open circuit is decided by its probe alone: a call from before it opened, or a probe whose
-- lease has run out, proves nothing of now. So the circuit knows the run that is its probe.
alter table biz.ai_circuits add column probe_run_id bigint;
comment on column biz.ai_circuits.probe_run_id is 'half_open: the run whose end decides';
comment on column biz.ai_circuits.retry_at is 'open: when one probe may go; half_open: when another may, should the probe never end';

drop function biz.pass_circuit(text);
drop function biz.record_circuit(text, text);
comment on type biz.finished_reply is
    'applied: false when the reply had already ended, and then how; chars: length of the stored text; circuit: opened or closed, where this end did that';

-- Whether the app may be asked: 'closed' or 'probe' pass, 'circuit_open' does not.
-- Of all who come when an open circuit is due, the update lets exactly one through.
create function biz.pass_circuit(p_app_type text, p_run bigint) returns text language plpgsql as $$
begin
    if not exists (select from biz.ai_circuits k where k.app_type = p_app_type and k.state <> 'closed') then
        return 'closed';
    end if;
    -- Longer than a reply can take. A probe whose maker died hands its turn on when it is swept.
    update biz.ai_circuits set state = 'half_open', probe_run_id = p_run, retry_at = clock_timestamp() + interval '330 seconds'
    where app_type = p_app_type and state <> 'closed' and retry_at <= clock_timestamp();
    if found then return 'probe'; end if;
    if exists (select from biz.ai_circuits k where k.app_type = p_app_type and k.state = 'closed') then
        return 'closed';
    end if;
    return 'circuit_open';
end $$;
comment on function biz.pass_circuit is 'Lets a run pass a closed circuit, and one probe pass an open one that is due';

create function biz.record_circuit(p_app_type text, p_run bigint, p_verdict text) returns text language plpgsql as $$
declare
    k biz.ai_circuits;
begin
    -- A healthy circuit is neither changed nor locked.
    if p_verdict <> 'failure' and not exists (
        select from biz.ai_circuits where app_type = p_app_type and (state <> 'closed' or failures > 0))
    then
        return null;
    end if;
    insert into biz.ai_circuits (app_type) values (p_app_type) on conflict on constraint ai_circuits_pkey do nothing;
    select * into k from biz.ai_circuits where app_type = p_app_type for update;

    if k.state = 'closed' and p_verdict = 'success' then
        update biz.ai_circuits set failures = 0 where app_type = p_app_type;
    elsif k.state = 'closed' and p_verdict = 'failure' then
        if k.failures + 1 < 5 then
            update biz.ai_circuits set failures = k.failures + 1 where app_type = p_app_type;
        else
            update biz.ai_circuits set state = 'open', failures = k.failures + 1, opened_at = clock_timestamp(),
                open_seconds = 60, retry_at = clock_timestamp() + interval '60 seconds'
            where app_type = p_app_type;
            return 'opened';
        end if;
    elsif k.state = 'half_open' and k.probe_run_id = p_run then
        if p_verdict = 'success' then
            update biz.ai_circuits set state = 'closed', failures = 0, opened_at = null, retry_at = null,
                open_seconds = 60, probe_run_id = null
            where app_type = p_app_type;
            return 'closed';
        elsif p_verdict = 'failure' then
            update biz.ai_circuits set state = 'open', failures = k.failures + 1, probe_run_id = null,
                open_seconds = least(600, k.open_seconds * 2),
                retry_at = clock_timestamp() + make_interval(secs => least(600, k.open_seconds * 2))
            where app_type = p_app_type;
            return 'opened';
        else
            -- It proved nothing: its turn is the next caller's.
            update biz.ai_circuits set state = 'open', probe_run_id = null, retry_at = clock_timestamp()
            where app_type = p_app_type;
        end if;
    end if;
    return null;
end $$;
comment on function biz.record_circuit is
    'Counts a run''s success, failure or neither; says opened or closed where it made the circuit that';

-- As before but for the circuit, for dead replies, which are ended here, and for a beginning that
-- comes too late.
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
    b biz.ai_budgets;
    v_run bigint := nextval('biz.ai_run_logs_id_seq');
    v_zone text;
    v_now timestamptz;
    v_today date;
    v_day_used bigint;
    v_month_used bigint;
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

    -- Budget, under the site's lock: what is used and what is reserved, today and this month.
    select s.timezone into v_zone from biz.sites s where s.id = p_site for no key update;
    v_now := clock_timestamp();
    v_today := biz.local_day(v_zone, v_now);
    select * into b from biz.ai_budgets where site_id = p_site or site_id is null order by site_id nulls last limit 1;
    select coalesce(sum(u.tokens + u.reserved_tokens) filter (where u.day = v_today), 0),
           coalesce(sum(u.tokens + u.reserved_tokens), 0)
    into v_day_used, v_month_used
    from biz.ai_usage_daily u
    where u.site_id = p_site and u.day >= date_trunc('month', v_today)::date and u.day <= v_today;
    if v_month_used + p_reserve > b.monthly_limit then
        r.outcome := 'budget_exceeded';
        v_retry_at := (date_trunc('month', v_today::timestamp) + interval '1 month') at time zone v_zone;
    elsif v_day_used + p_reserve > b.daily_limit then
        r.outcome := 'budget_exceeded';
        v_retry_at := (v_today + 1)::timestamp at time zone v_zone;
    else
        r.outcome := biz.pass_circuit(p_app_type, v_run);
        if r.outcome = 'circuit_open' then
            -- What a probe under way will show is known long before its lease is over.
            select case k.state when 'half_open' then v_now + interval '5 seconds' else k.retry_at end
            into v_retry_at from biz.ai_circuits k where k.app_type = p_app_type;
        end if;
    end if;

    if r.outcome in ('budget_exceeded', 'circuit_open') then
        -- Such refusals are runs too: they are seen on the dashboard.
        r.retry_after := greatest(1, ceil(extract(epoch from v_retry_at - v_now)));
        insert into biz.ai_run_logs (id, site_id, user_id, app_type, trigger_type, status, alert_status, local_day,
                                     request_prompt, latency_ms, error_code, created_at, finished_at)
        values (v_run, p_site, p_user, p_app_type, 'chat', r.outcome, case r.outcome when 'circuit_open' then 'pending' end, v_today,
                p_content, 0, r.outcome, v_now, v_now);
        insert into biz.ai_usage_daily as u (site_id, day, app_type, calls, failures)
        values (p_site, v_today, p_app_type, 1, 1)
        on conflict on constraint ai_usage_daily_pkey do update set calls = u.calls + 1, failures = u.failures + 1;
        return r;
    end if;

    -- From here on nothing refuses. A reply of this conversation whose maker is dead ends now, so
    -- that the maker, should it wake, finds that it is late: two never speak at once.
    perform biz.end_dead_reply(a.id) from biz.ai_messages a
    where a.user_id = p_user and a.site_id = p_site and a.conversation_id = c.id and a.state = 'streaming';

    insert into biz.ai_usage_daily as u (site_id, day, app_type, reserved_tokens)
    values (p_site, v_today, p_app_type, p_reserve)
    on conflict on constraint ai_usage_daily_pkey do update set reserved_tokens = u.reserved_tokens + p_reserve;

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
    insert into biz.ai_run_logs (id, site_id, user_id, app_type, trigger_type, message_id, status, reserved_tokens, local_day,
                                 request_prompt, created_at)
    values (v_run, p_site, p_user, p_app_type, 'chat', r.message_id, 'running', p_reserve, v_today, p_content, v_now)
    returning id, created_at into r.run_id, r.run_at;

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

-- As before but for the circuit.
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
    l biz.ai_run_logs;
    v_now timestamptz := clock_timestamp();
    v_ok integer := (p_run_status in ('success', 'stopped'))::integer;
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

    update biz.ai_run_logs set
        status = p_run_status,
        alert_status = case when p_run_status in ('failed', 'timeout') then 'pending' end,
        request_prompt = coalesce(p_prompt, request_prompt),
        prompt_version = p_prompt_version,
        response_text = m.content,
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
        finished_at = v_now
    where id = p_run and created_at = p_run_at and site_id = p_site
    returning * into l;

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

    r.applied := true;
    r.state := m.state;
    r.chars := char_length(m.content);
    r.finished_at := v_now;
    return r;
end $$;
