create type sent_message as (
    outcome text,
    conversation_id bigint,
    message_id bigint,
    message_at timestamptz,
    retry_after integer,
    quota jsonb
);

comment on type sent_message is
    'outcome: sent or repeat, with the message; else not_found, not_owner, not_a_bot, '
    'bot_disabled, not_granted, unknown (the bot), closed, '
    'paused, reply_to, key_reused, rate_limited, budget_exceeded or quota_exceeded. quota: as in '
    'begun_reply';

-- Locks: conversation, user, site, as in begin_reply. The job row has the id of its conversation.
create function send_session_message(
    p_site bigint,
    p_user bigint,
    p_session uuid,
    p_content text,
    p_content_type text,
    p_reply_to bigint,
    p_key text,
    p_key_seconds double precision,
    p_rate_per_minute integer,
    p_rule token_rule,
    p_until timestamptz default 'infinity'
) returns sent_message language plpgsql as $$
declare
    r sent_message;
    c biz.ai_conversations;
    m biz.ai_messages;
    l biz.ai_run_logs;
    v_room budget_room;
    v_quota exceeded_quota;
    v_now timestamptz;
    v_retry_at timestamptz;
begin
    select * into c from biz.ai_conversations where public_id = p_session and site_id = p_site
    for no key update;
    if not found then r.outcome := 'not_found'; return r; end if;
    if c.user_id <> p_user then r.outcome := 'not_owner'; return r; end if;
    if c.bot_id is null then r.outcome := 'not_a_bot'; return r; end if;
    r.conversation_id := c.id;

    if p_key is not null then
        select a.* into m
        from biz.ai_idempotency_keys k join biz.ai_messages a on a.id = k.message_id
        where k.conversation_id = c.id and k.key = p_key
          and k.created_at > now() - make_interval(secs => p_key_seconds);
        if found then
            r.message_id := m.id;
            r.message_at := m.created_at;
            r.outcome := case
                when (m.content, m.content_type, m.reply_to)
                     is not distinct from (p_content, p_content_type, p_reply_to) then 'repeat'
                else 'key_reused' end;
            return r;
        end if;
    end if;
    if c.status <> 'active' then r.outcome := c.status; return r; end if;
    r.outcome := (select bot_access(b, p_site, p_user) from biz.bots b where b.id = c.bot_id);
    if r.outcome <> 'allowed' then return r; end if;
    r.outcome := null;
    if p_reply_to is not null and not exists (
        select from biz.ai_messages a
        where a.id = p_reply_to and a.conversation_id = c.id and a.site_id = p_site)
    then
        r.outcome := 'reply_to';
        return r;
    end if;

    v_retry_at := rate_retry_at(p_site, p_user, p_rate_per_minute);
    if v_retry_at is not null then
        r.outcome := 'rate_limited';
    else
        l.site_id := p_site;
        l.user_id := p_user;
        l.bot_id := c.bot_id;
        l.reserved_tokens := prompt_tokens(p_rule, char_length(p_content))
            + rest_tokens(p_site, 'app1_chat', p_rule.rest);
        v_room := budget_room(p_site, l.reserved_tokens);
        l.local_day := v_room.day;
        l.created_at := v_room.at;
        v_retry_at := v_room.retry_at;
        if v_retry_at is not null then
            l.status := 'budget_exceeded';
        else
            v_quota := exceeded_quota(l);
            v_retry_at := v_quota.retry_at;
            if v_retry_at is not null then
                l.status := 'quota_exceeded';
                l.error_message := v_quota.quota::text;
                r.quota := v_quota.quota;
            end if;
        end if;
    end if;
    if l.status is not null then
        r.outcome := l.status;
        l.id := nextval('biz.ai_run_logs_id_seq');
        l.app_type := 'app1_chat';
        l.app_id := coalesce(
            (select a.app_id from biz.agents a where a.id = c.agent_id), l.app_type);
        l.trigger_type := 'session';
        perform log_refusal(l);
    end if;
    v_now := clock_timestamp();
    if v_retry_at is not null then
        r.retry_after := greatest(1, ceil(extract(epoch from v_retry_at - v_now)));
        return r;
    end if;

    insert into biz.ai_messages (
        conversation_id, site_id, user_id, seq, role, content, content_type, reply_to,
        created_at, finished_at)
    values (
        c.id, p_site, p_user, c.message_count + 1, 'user', p_content, p_content_type, p_reply_to,
        v_now, v_now)
    returning id, created_at into r.message_id, r.message_at;
    perform count_messages(p_site, c.id, 1, r.message_id, 'user', p_content, v_now, 0, false);
    insert into biz.ai_trigger_jobs (
        site_id, event_type, connector_type, trigger_type, app_chain, urgency, message_id,
        conversation_id)
    values (
        p_site, 'chat.session_message', 'session_api', 'session', array['app1_chat'], 1,
        r.message_id, c.id);
    if p_key is not null then
        insert into biz.ai_idempotency_keys (conversation_id, key, message_id)
        values (c.id, p_key, r.message_id)
        on conflict on constraint ai_idempotency_keys_pkey do update set
            message_id = excluded.message_id, created_at = excluded.created_at;
    end if;
    -- As in begin_reply: the caller has returned 503, and may send the message again.
    if clock_timestamp() > p_until then
        raise exception 'a message was stored too late' using errcode = 'query_canceled';
    end if;
    r.outcome := 'sent';
    return r;
end $$;

comment on function send_session_message is
    'Stores a message and queues its reply, or returns the refusal that applies';
