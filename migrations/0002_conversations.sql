-- A conversation is one row with two faces: the mini-program's chat (id) and the
-- session API's session (public_id).
create table biz.ai_conversations (
    id bigint generated always as identity constraint ai_conversations_pkey primary key,
    public_id uuid not null default gen_random_uuid() constraint ai_conversations_public_id_key unique,
    site_id bigint not null constraint ai_conversations_site_id_fkey references biz.sites (id),
    user_id bigint not null constraint ai_conversations_user_id_fkey references biz.users (id),
    context_type text not null,
    context_id text not null default '',
    business_date date,
    channel_type text not null default 'miniprogram',
    title text,
    status text not null default 'active',
    message_count bigint not null default 0,
    unread_count bigint not null default 0,
    last_message_preview text,
    last_message_at timestamptz,
    last_active_at timestamptz not null default now(),
    dashscope_session_id text,
    dashscope_session_at timestamptz,
    dashscope_session_rounds integer not null default 0,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint ai_conversations_context_type_known
        check (context_type in ('general', 'task', 'customer', 'coach', 'board', 'bot')),
    constraint ai_conversations_context_id_short check (char_length(context_id) <= 64),
    constraint ai_conversations_board_has_date check ((context_type = 'board') = (business_date is not null)),
    constraint ai_conversations_status_known check (status in ('active', 'paused', 'closed')),
    constraint ai_conversations_counters_counted check (message_count >= 0 and unread_count between 0 and message_count)
);
comment on table biz.ai_conversations is 'One chat of one user; the session API calls it a session';
comment on column biz.ai_conversations.public_id is 'The id that the session API knows the conversation by';
comment on column biz.ai_conversations.context_id is 'What the chat is about, as the client names it: part of the key, opaque';
comment on column biz.ai_conversations.business_date is 'Only for board: one conversation per business date';
comment on column biz.ai_conversations.message_count is
    'Messages so far, and so the sequence number of the newest: sequence numbers have no gaps';
comment on column biz.ai_conversations.last_message_preview is 'First 100 characters of the newest message that has text';
comment on column biz.ai_conversations.last_active_at is 'Newest message or creation: the order of the list, the clock of the reuse windows';
comment on column biz.ai_conversations.dashscope_session_id is
    'Conversation in the cloud. While it is alive only the new message is sent, never the history too';
comment on column biz.ai_conversations.dashscope_session_rounds is 'Rounds under the session id; the service forgets after 50';

-- What can be found by a fixed key is made unique by it; the time windows of the
-- other contexts are guarded by a lock in biz.open_conversation.
create unique index ai_conversations_task_key on biz.ai_conversations (site_id, user_id, context_id)
    where context_type = 'task';
create unique index ai_conversations_board_key on biz.ai_conversations (site_id, user_id, context_id, business_date)
    where context_type = 'board';
create index ai_conversations_context_idx
    on biz.ai_conversations (site_id, user_id, context_type, context_id, last_active_at desc);
create index ai_conversations_listed_idx
    on biz.ai_conversations (site_id, user_id, last_active_at desc, id desc) where message_count > 0;

-- Finds the conversation of a user for a context, or makes it.
--
-- The first look takes no lock, for nearly every call finds what it wants. Only who
-- found nothing waits for the lock and looks again: each statement of a function has a
-- snapshot of its own, so the second look sees what the lock's former holder committed.
create function biz.open_conversation(p_site bigint, p_user bigint, p_context_type text, p_context_id text)
returns bigint language plpgsql as $$
declare
    v_today date := (
        select biz.business_date(s.runtime_mode, s.sandbox_date, s.timezone) from biz.sites s where s.id = p_site
    );
    v_id bigint;
begin
    for v_attempt in 1 .. 2 loop
        select c.id into v_id
        from biz.ai_conversations c
        where c.site_id = p_site and c.user_id = p_user
          and c.context_type = p_context_type and c.context_id = p_context_id
          and c.status = 'active'
          and case p_context_type
                  when 'task' then true
                  when 'board' then c.business_date = v_today
                  when 'general' then c.last_active_at > now() - interval '30 minutes'
                  else c.last_active_at > now() - interval '3 days'
              end
        order by c.last_active_at desc
        limit 1;
        if found then
            return v_id;
        end if;
        exit when v_attempt = 2;
        perform pg_advisory_xact_lock(
            hashtextextended(format('conversation/%s/%s/%s/%s', p_site, p_user, p_context_type, p_context_id), 0));
    end loop;

    insert into biz.ai_conversations as c (site_id, user_id, context_type, context_id, business_date, last_active_at)
    values (p_site, p_user, p_context_type, p_context_id, case p_context_type when 'board' then v_today end, clock_timestamp())
    returning c.id into v_id;
    return v_id;
end $$;
comment on function biz.open_conversation is 'The conversation of a user for a context: the one in its reuse window, or a new one';
