-- Limits of users: refusals, reservations, readers and empty conversations.

-- Refused calls are counted instead of stored one by one.

alter table biz.ai_run_logs add column refusals bigint;
comment on column biz.ai_run_logs.refusals is
    'Only for refused runs: number of refusals that this row counts. Those of a user within a '
    'minute, or those of a job; finished_at is the last one';

create table biz.ai_refusals (
    user_id bigint not null constraint ai_refusals_user_id_fkey references biz.users (id),
    reason biz.run_status not null,
    app_id text not null,
    site_id bigint not null,
    run_id bigint not null,
    run_at timestamptz not null,
    refusals biz.counter not null,
    constraint ai_refusals_pkey primary key (user_id, reason, app_id)
) with (fillfactor = 50);
comment on table biz.ai_refusals is
    'The last logged refusal of a user by budget or circuit, per reason and application. Refusals '
    'of the next minute are added to the same run, and count as messages against the user''s rate';
comment on column biz.ai_refusals.run_id is 'The row of biz.ai_run_logs that counts the refusals';
comment on column biz.ai_refusals.run_at is 'The first of these refusals; the others are within a minute';

-- A reservation depends on the size of the prompt, and on the average of the app's earlier calls.
alter table biz.ai_run_logs add column prompt_tokens bigint;
comment on column biz.ai_run_logs.prompt_tokens is
    'Estimated tokens of the prompt, part of the reservation; null in older rows';
alter table biz.ai_usage_daily
    add column rest_tokens biz.counter not null default 0,
    add column rest_calls biz.counter not null default 0;
comment on column biz.ai_usage_daily.rest_tokens is
    'Tokens of successful calls besides those estimated for their prompts';
comment on column biz.ai_usage_daily.rest_calls is 'Number of calls in rest_tokens';
alter table biz.ai_trigger_jobs add column waits_tokens bigint;
comment on column biz.ai_trigger_jobs.waits_tokens is
    'waits_for = budget: the tokens that the budget must have left';

create table biz.ai_reply_readers (
    id bigint generated always as identity constraint ai_reply_readers_pkey primary key,
    site_id bigint not null,
    user_id bigint not null constraint ai_reply_readers_user_id_fkey references biz.users (id),
    message_id bigint not null,
    is_replaced boolean not null default false,
    lease_until timestamptz not null
) with (fillfactor = 50);
create index ai_reply_readers_user_idx on biz.ai_reply_readers (user_id);
comment on table biz.ai_reply_readers is
    'Requests that read a reply from the database while it is made. Each holds a function instance';
comment on column biz.ai_reply_readers.is_replaced is
    'True if a newer reader has its place; it ends at its next read';
comment on column biz.ai_reply_readers.lease_until is
    'Renewed by each read; if it has expired, the function of the reader is dead';

-- Conversations without a message, for their limit per user and for the sweep.
create index ai_conversations_empty_idx
    on biz.ai_conversations (last_active_at) where message_count = 0;
create index ai_conversations_empty_of_user_idx
    on biz.ai_conversations (site_id, user_id, last_active_at desc) where message_count = 0;
