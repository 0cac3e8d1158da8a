-- Turns of a conversation. The assistant's row is made when its reply begins and is
-- filled by checkpoints, so that a killed function loses two seconds of text at most.
create table biz.ai_messages (
    id bigint generated always as identity constraint ai_messages_pkey primary key,
    conversation_id bigint not null constraint ai_messages_conversation_id_fkey references biz.ai_conversations (id),
    site_id bigint not null,
    user_id bigint not null,
    seq bigint not null,
    role text not null,
    content text not null default '',
    state text not null default 'complete',
    read_at timestamptz,
    reply_to bigint,
    client_message_id text,
    reference_card jsonb,
    tokens_used bigint,
    error_code text,
    lease_until timestamptz,
    stop_requested_at timestamptz,
    created_at timestamptz not null default now(),
    finished_at timestamptz,
    constraint ai_messages_seq_key unique (conversation_id, seq),
    constraint ai_messages_role_known check (role in ('user', 'assistant', 'system')),
    constraint ai_messages_state_known check (state in ('complete', 'streaming', 'stopped', 'interrupted', 'failed')),
    constraint ai_messages_streaming_is_leased check ((state = 'streaming') = (lease_until is not null)),
    constraint ai_messages_seq_positive check (seq > 0)
);
create unique index ai_messages_client_message_id_key on biz.ai_messages (conversation_id, client_message_id)
    where client_message_id is not null;
-- Neither index names a column that a checkpoint changes: those updates stay heap-only.
create index ai_messages_streaming_idx on biz.ai_messages (user_id) where state = 'streaming';
create index ai_messages_rate_idx on biz.ai_messages (user_id, created_at) where role = 'user';

comment on table biz.ai_messages is 'One turn in a conversation';
comment on column biz.ai_messages.seq is 'Place in the conversation, from 1, without gaps: pages and cursors are ranges of it';
comment on column biz.ai_messages.user_id is 'Whose conversation it is (not who speaks)';
comment on column biz.ai_messages.state is 'streaming while a function holds the lease; the others are final';
comment on column biz.ai_messages.reply_to is 'The message that this one answers';
comment on column biz.ai_messages.client_message_id is 'Chosen by the client: a repeat is the same message';
comment on column biz.ai_messages.tokens_used is 'As DashScope said; null when it did not, never a guess';
comment on column biz.ai_messages.error_code is 'Code of the error event that ended the reply';
comment on column biz.ai_messages.lease_until is 'Renewed by each checkpoint; once past, whoever wrote is dead';
comment on column biz.ai_messages.stop_requested_at is 'Read by the next checkpoint of whichever function makes the reply';
