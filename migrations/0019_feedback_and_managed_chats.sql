-- Feedback on AI texts, and what users need to pin, search, export and delete their conversations.

create domain biz.ai_subject as text
    constraint ai_subject_known check (value in ('message', 'insight'));
create domain biz.rating as text
    constraint rating_known check (value in ('up', 'down'));
comment on domain biz.ai_subject is 'Kind of an AI text: a reply in a chat, or a result of an app';
comment on domain biz.rating is 'Thumb of a user';

create table biz.ai_feedback (
    id bigint generated always as identity constraint ai_feedback_pkey primary key,
    site_id bigint not null constraint ai_feedback_site_id_fkey references biz.sites (id),
    user_id bigint not null constraint ai_feedback_user_id_fkey references biz.users (id),
    subject_type biz.ai_subject not null,
    subject_id bigint not null,
    app_type biz.app_type not null,
    prompt_version text,
    run_id bigint,
    rating biz.rating not null,
    reasons text[] not null default '{}',
    comment text,
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp(),
    constraint ai_feedback_subject_key unique (user_id, subject_type, subject_id)
);
-- Covers the thumbs of the dashboard, which are counted without reading the table.
create index ai_feedback_site_idx on biz.ai_feedback (site_id, created_at desc, id desc)
    include (app_type, prompt_version, rating);
comment on table biz.ai_feedback is 'Feedback on AI texts: one row per user and text';
comment on column biz.ai_feedback.subject_id is
    'Id in ai_messages or ai_cache; not a foreign key, because it has two targets';
comment on column biz.ai_feedback.app_type is 'App that made the text';
comment on column biz.ai_feedback.prompt_version is
    'Version of the prompt that made the text; null if the run is not known';
comment on column biz.ai_feedback.run_id is
    'Run that made the text; the run log may have dropped it since';
comment on column biz.ai_feedback.reasons is
    'What is wrong with the text: inaccurate, unhelpful, unsafe or other';

-- A deleted conversation leaves its runs without prompts and answers. The run of a bot's reply has
-- no message, so the message is not enough to find it.
alter table biz.ai_run_logs add column conversation_id bigint;
comment on column biz.ai_run_logs.conversation_id is
    'Conversation of the chat or session; null for other runs and in older rows';
create index ai_run_logs_conversation_idx on biz.ai_run_logs (conversation_id, created_at desc)
    where conversation_id is not null;

alter table biz.ai_conversations add column pinned boolean not null default false;
comment on column biz.ai_conversations.pinned is 'Pinned by its user; comes first in the list';
-- Replaces ai_conversations_listed_idx, which had no `pinned`. The previous release sorts instead.
drop index biz.ai_conversations_listed_idx;
create index ai_conversations_listed_idx
    on biz.ai_conversations (site_id, user_id, pinned desc, last_active_at desc, id desc)
    where message_count > 0;

-- The search reads the messages of a user, newest first. Both columns never change.
create index ai_messages_user_idx on biz.ai_messages (user_id, id desc);
-- Deleting a message checks the foreign key of the idempotency keys.
create index ai_idempotency_keys_message_idx on biz.ai_idempotency_keys (message_id);
