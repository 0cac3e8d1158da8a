-- Conversations, their messages, and the idempotency keys of the session API.

-- A word of a known set is a domain. PostgreSQL parses the checks of a table in every statement
-- that writes one of its rows, and lists of words took a fifth of a send's time. It parses a
-- domain's check once per connection, and evaluates it only when the column is written.
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
comment on domain biz.context_type is 'The kind of thing a conversation is about';
comment on domain biz.context_id is 'The thing a conversation is about, as the client names it';
comment on domain biz.conversation_status is 'Only an active conversation accepts messages';
comment on domain biz.message_role is 'Who wrote a message';
comment on domain biz.message_state is 'streaming while the reply is made; the others are final';
comment on domain biz.content_type is 'How a message is displayed';
comment on domain biz.counter is 'A number that is never negative';

-- One row serves two APIs: the mini-program's chat (id) and the session API's session (public_id).
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
    'One chat of one user; the session API calls it a session';
comment on column biz.ai_conversations.public_id is
    'The id that the session API knows the conversation by';
comment on column biz.ai_conversations.context_id is
    'What the chat is about, as the client names it: part of the key, opaque';
comment on column biz.ai_conversations.business_date is
    'Only for board: one conversation per business date';
comment on column biz.ai_conversations.message_count is
    'Messages so far, and so the sequence number of the newest: sequence numbers have no gaps';
comment on column biz.ai_conversations.last_message_preview is 'Its first 100 characters';
comment on column biz.ai_conversations.last_message_at is
    'When it was stored; of a reply, when that began';
comment on column biz.ai_conversations.last_active_at is
    'Newest message or creation: the order of the list, the clock of the reuse windows';
comment on column biz.ai_conversations.dashscope_session_id is
    'Conversation in the cloud. While it is alive only the new message is sent, '
    'never the history too';
comment on column biz.ai_conversations.dashscope_session_rounds is
    'Rounds under the session id; the service forgets after 50';
comment on column biz.ai_conversations.bot_id is
    'Whom it is with, where the session API knows it';
comment on column biz.ai_conversations.agent_id is 'The bot''s agent when it was made';
comment on column biz.ai_conversations.read_seq is
    'What the other side has said up to this sequence number is read; '
    'unread_count counts the rest';
comment on column biz.ai_conversations.last_message_id is
    'The newest message that has text; null where there is none';
comment on column biz.ai_conversations.last_message_role is 'Who said it';

-- These two contexts have a fixed key. The other contexts reuse a conversation within a time
-- window, which no index can express: `open_conversation` guards them with a lock.
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
-- Includes status and bot, so that sessions are counted by either without reading the table.
create index ai_conversations_sessions_idx
    on biz.ai_conversations (site_id, user_id, last_active_at desc, id desc)
    include (status, bot_id)
    where bot_id is not null;

-- The assistant's row is inserted when its reply begins; checkpoints fill it. A function that is
-- killed loses at most the text since the last checkpoint.
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
comment on table biz.ai_messages is 'One turn in a conversation';
comment on column biz.ai_messages.user_id is 'Whose conversation it is (not who speaks)';
comment on column biz.ai_messages.seq is
    'Place in the conversation, from 1, without gaps: pages and cursors are ranges of it';
comment on column biz.ai_messages.state is
    'streaming while a function holds the lease; the others are final';
comment on column biz.ai_messages.reply_to is 'The message that this one answers';
comment on column biz.ai_messages.client_message_id is
    'Chosen by the client: a repeat is the same message';
comment on column biz.ai_messages.tokens_used is
    'As DashScope said; null when it did not, never a guess';
comment on column biz.ai_messages.error_code is 'Code of the error event that ended the reply';
comment on column biz.ai_messages.lease_until is
    'Renewed by each checkpoint; once past, whoever wrote is dead';
comment on column biz.ai_messages.stop_requested_at is
    'Read by the next checkpoint of whichever function makes the reply';
comment on column biz.ai_messages.content_type is 'How it is to be shown: markdown or text';

-- A checkpoint rewrites the whole text of a reply. For texts of some kilobytes lz4 takes half the
-- time of PostgreSQL's own method. A server that was built without lz4 keeps its own method.
do $$ begin
    alter table biz.ai_messages alter column content set compression lz4;
exception
    when feature_not_supported then null;
end $$;

-- No index of this table may name a column that a checkpoint updates (content, lease_until).
-- Otherwise these updates are no longer heap-only (HOT) and rewrite every index.
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
    'Idempotency-Key headers of the session API, remembered for 24 hours';
