-- Conversations, their messages, and the idempotency keys of the session API.

-- Columns with a fixed set of words use a domain instead of a table check. PostgreSQL parses the
-- checks of a table in each statement that writes to it. Lists of words took a fifth of a send's
-- time. A domain's check is parsed once per connection and runs only when the column is written.
create domain biz.context_type as text
    constraint context_type_known
    check (value in ('general', 'task', 'customer', 'coach', 'board', 'bot'));
create domain biz.context_id as text
    constraint context_id_short check (char_length(value) <= 64);
create domain biz.conversation_status as text
    constraint conversation_status_known check (value in ('active', 'paused', 'closed'));
create domain biz.message_role as text
    constraint message_role_known check (value in ('user', 'assistant', 'system'));
create domain biz.message_state as text
    constraint message_state_known
    check (value in ('complete', 'streaming', 'stopped', 'interrupted', 'failed'));
create domain biz.content_type as text
    constraint content_type_known check (value in ('markdown', 'text'));
create domain biz.counter as bigint
    constraint counter_not_negative check (value >= 0);
comment on domain biz.context_type is 'Kind of the subject of a conversation';
comment on domain biz.context_id is 'Subject of a conversation: an id that the client gives';
comment on domain biz.conversation_status is 'Only an active conversation accepts messages';
comment on domain biz.message_role is 'Author of a message';
comment on domain biz.message_state is 'streaming while the reply is made; the others are final';
comment on domain biz.content_type is 'Format of a message';
comment on domain biz.counter is 'A number that is never negative';

-- Two APIs use this table: the mini-program by id, the session API by public_id.
create table biz.ai_conversations (
    id bigint generated always as identity constraint ai_conversations_pkey primary key,
    public_id uuid not null default gen_random_uuid()
        constraint ai_conversations_public_id_key unique,
    site_id bigint not null constraint ai_conversations_site_id_fkey references biz.sites (id),
    user_id bigint not null constraint ai_conversations_user_id_fkey references biz.users (id),
    context_type biz.context_type not null,
    context_id biz.context_id not null default '',
    business_date date,
    channel_type text not null default 'miniprogram',
    title text,
    status biz.conversation_status not null default 'active',
    message_count biz.counter not null default 0,
    unread_count biz.counter not null default 0,
    last_message_preview text,
    last_message_at timestamptz,
    last_active_at timestamptz not null default now(),
    dashscope_session_id text,
    dashscope_session_at timestamptz,
    dashscope_session_rounds integer not null default 0,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    bot_id uuid constraint ai_conversations_bot_id_fkey references biz.bots (id),
    agent_id uuid constraint ai_conversations_agent_id_fkey references biz.agents (id),
    read_seq bigint not null default 0,
    last_message_id bigint,
    last_message_role text,
    constraint ai_conversations_board_has_date
        check ((context_type = 'board') = (business_date is not null)),
    constraint ai_conversations_bot_has_id
        check ((context_type = 'bot') = (bot_id is not null)),
    constraint ai_conversations_unread_are_messages check (unread_count <= message_count),
    constraint ai_conversations_last_message_whole check (num_nulls(
        last_message_id, last_message_role, last_message_preview, last_message_at) in (0, 4))
);
comment on table biz.ai_conversations is
    'Conversations of users; the session API calls them sessions';
comment on column biz.ai_conversations.public_id is 'Id in the session API';
comment on column biz.ai_conversations.context_id is
    'Subject of the conversation, an id that the client gives; part of the key';
comment on column biz.ai_conversations.business_date is
    'Only for board: one conversation per business date';
comment on column biz.ai_conversations.message_count is
    'Number of messages, and so the sequence number of the newest one: numbers have no gaps';
comment on column biz.ai_conversations.last_message_preview is
    'First 100 characters of the last message';
comment on column biz.ai_conversations.last_message_at is
    'When the last message was stored; for a reply, when it began';
comment on column biz.ai_conversations.last_active_at is
    'Time of the newest message or of the creation; orders the list and limits the reuse';
comment on column biz.ai_conversations.dashscope_session_id is
    'Session of DashScope. While it is valid, only the new message is sent, without the history';
comment on column biz.ai_conversations.dashscope_session_rounds is
    'Rounds in the session; DashScope drops a session after 50';
comment on column biz.ai_conversations.bot_id is
    'Bot of the conversation; null in the mini-program''s own chats';
comment on column biz.ai_conversations.agent_id is
    'The bot''s agent when the conversation was created';
comment on column biz.ai_conversations.read_seq is
    'Replies up to this sequence number are read; unread_count counts the later ones';
comment on column biz.ai_conversations.last_message_id is
    'The newest message that has text; null if there is none';
comment on column biz.ai_conversations.last_message_role is 'Role of the last message';

-- These two contexts have a fixed key. Other contexts reuse a conversation within a time window,
-- which an index cannot express. `open_conversation` prevents duplicates of them with a lock.
create unique index ai_conversations_task_key
    on biz.ai_conversations (site_id, user_id, context_id)
    where context_type = 'task';
create unique index ai_conversations_board_key
    on biz.ai_conversations (site_id, user_id, context_id, business_date)
    where context_type = 'board';
create index ai_conversations_context_idx
    on biz.ai_conversations (site_id, user_id, context_type, context_id, last_active_at desc);
create index ai_conversations_listed_idx
    on biz.ai_conversations (site_id, user_id, last_active_at desc, id desc)
    where message_count > 0;
-- Includes status and bot_id, so that filtered sessions are counted without reading the table.
create index ai_conversations_sessions_idx
    on biz.ai_conversations (site_id, user_id, last_active_at desc, id desc)
    include (status, bot_id)
    where bot_id is not null;

-- The row of a reply is inserted when the reply begins, and checkpoints fill it. If the function is
-- killed, only the text since the last checkpoint is lost.
create table biz.ai_messages (
    id bigint generated always as identity constraint ai_messages_pkey primary key,
    conversation_id bigint not null
        constraint ai_messages_conversation_id_fkey references biz.ai_conversations (id),
    site_id bigint not null,
    user_id bigint not null,
    seq bigint not null,
    role biz.message_role not null,
    content text not null default '',
    state biz.message_state not null default 'complete',
    reply_to bigint,
    client_message_id text,
    reference_card jsonb,
    tokens_used bigint,
    error_code text,
    lease_until timestamptz,
    stop_requested_at timestamptz,
    created_at timestamptz not null default now(),
    finished_at timestamptz,
    content_type biz.content_type not null default 'markdown',
    constraint ai_messages_seq_key unique (conversation_id, seq),
    constraint ai_messages_streaming_is_leased
        check ((state = 'streaming') = (lease_until is not null))
);
comment on table biz.ai_messages is 'Messages of conversations';
comment on column biz.ai_messages.user_id is
    'Owner of the conversation, also for messages of the assistant';
comment on column biz.ai_messages.seq is
    'Position in the conversation, from 1, without gaps: pages and cursors are ranges of it';
comment on column biz.ai_messages.state is
    'streaming while a function has the lease; the others are final';
comment on column biz.ai_messages.reply_to is 'The message to which this one responds';
comment on column biz.ai_messages.client_message_id is
    'Chosen by the client; a repeat of the message has the same id';
comment on column biz.ai_messages.tokens_used is
    'As reported by DashScope; null if it reported nothing, never an estimate';
comment on column biz.ai_messages.error_code is
    'Code of the error event that ended the reply. content_blocked also marks the question';
comment on column biz.ai_messages.lease_until is
    'Renewed by each checkpoint; if it has expired, the function that made the reply is dead';
comment on column biz.ai_messages.stop_requested_at is
    'Stop flag, read at each checkpoint by the function that makes the reply';
comment on column biz.ai_messages.content_type is 'Format for display: markdown or text';

-- A checkpoint rewrites the whole text of a reply. For texts of some kilobytes, lz4 takes half the
-- time of the default compression. A server without lz4 keeps the default.
do $$ begin
    alter table biz.ai_messages alter column content set compression lz4;
exception
    when feature_not_supported then null;
end $$;

-- No index of this table may contain a column that a checkpoint updates (content, lease_until).
-- Otherwise these updates are not heap-only (HOT) and rewrite every index.
create unique index ai_messages_client_message_id_key
    on biz.ai_messages (conversation_id, client_message_id)
    where client_message_id is not null;
create index ai_messages_streaming_idx on biz.ai_messages (user_id) where state = 'streaming';
create index ai_messages_rate_idx on biz.ai_messages (user_id, created_at) where role = 'user';
-- Finds the reply of each message on a page. In a session the reply may be many messages later.
create index ai_messages_reply_idx on biz.ai_messages (reply_to) where role = 'assistant';

create table biz.ai_idempotency_keys (
    conversation_id bigint not null
        constraint ai_idempotency_keys_conversation_id_fkey references biz.ai_conversations (id),
    key text not null,
    message_id bigint not null
        constraint ai_idempotency_keys_message_id_fkey references biz.ai_messages (id),
    created_at timestamptz not null default now(),
    constraint ai_idempotency_keys_pkey primary key (conversation_id, key)
);
create index ai_idempotency_keys_created_idx on biz.ai_idempotency_keys (created_at);
comment on table biz.ai_idempotency_keys is
    'Idempotency-Key headers of the session API, valid for 24 hours';
