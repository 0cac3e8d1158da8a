-- Reports on AI texts, messages that admins block, messages that users replace, and openers.

create domain biz.report_reason as text
    constraint report_reason_known
    check (value in ('inaccurate', 'unhelpful', 'unsafe', 'illegal', 'privacy', 'other'));
comment on domain biz.report_reason is 'What a user reports about an AI text';

create table biz.ai_reports (
    id bigint generated always as identity constraint ai_reports_pkey primary key,
    site_id bigint not null constraint ai_reports_site_id_fkey references biz.sites (id),
    user_id bigint not null constraint ai_reports_user_id_fkey references biz.users (id),
    subject_type biz.ai_subject not null,
    subject_id bigint not null,
    reason biz.report_reason not null,
    text text,
    due_at timestamptz not null,
    created_at timestamptz not null default clock_timestamp(),
    resolved_at timestamptz,
    resolved_by bigint,
    answer text,
    constraint ai_reports_resolved_whole
        check (num_nulls(resolved_at, resolved_by, answer) in (0, 3))
);
create index ai_reports_site_idx on biz.ai_reports (site_id, created_at desc, id desc);
-- Finds overdue reports.
create index ai_reports_open_idx on biz.ai_reports (site_id, due_at) where resolved_at is null;
create index ai_reports_user_idx on biz.ai_reports (user_id, created_at desc, id desc);
comment on table biz.ai_reports is 'Complaints of users about AI texts, each answered by an admin';
comment on column biz.ai_reports.subject_id is
    'Id in ai_messages or ai_cache; the row may have been deleted since';
comment on column biz.ai_reports.text is
    'Words of the user; null if there are none, or if the conversation was deleted';
comment on column biz.ai_reports.due_at is 'An admin must answer until then';
comment on column biz.ai_reports.resolved_by is
    'The admin; not a foreign key, because the row must outlive its user';

alter table biz.ai_messages
    add column blocked_at timestamptz,
    add column superseded_at timestamptz;
comment on column biz.ai_messages.blocked_at is
    'When an admin blocked the message: lists show a fixed text, and no prompt contains it';
comment on column biz.ai_messages.superseded_at is
    'When a newer exchange replaced the message; it is in no list and no prompt';
comment on column biz.ai_messages.seq is
    'Position in the conversation, from 1, without gaps: pages and cursors are ranges of it. A '
    'superseded message has its negative id, so that its position is free';
comment on column biz.ai_messages.reply_to is
    'The message to which this one responds. A superseded message of the user without text records '
    'that the last question was asked again: then it is the reply that was made';

alter table biz.ai_admin_audit
    drop constraint ai_admin_audit_action_known,
    add constraint ai_admin_audit_action_known check (action in (
        'budget.set', 'runtime_context.set', 'alert.acknowledge', 'alert.ignore',
        'trigger_job.create', 'trigger_job.retry', 'trigger_job.cancel',
        'trigger_job.run_now', 'batch.estimate', 'batch.confirm', 'batch.cancel',
        'cache.invalidate', 'message.block', 'message.unblock', 'report.resolve'));

create table biz.openers (
    id bigint generated always as identity constraint openers_pkey primary key,
    site_id bigint constraint openers_site_id_fkey references biz.sites (id),
    source_page text,
    bot_id uuid constraint openers_bot_id_fkey references biz.bots (id),
    texts text[] not null,
    constraint openers_place_key unique nulls not distinct (source_page, bot_id, site_id),
    constraint openers_one_place check (num_nonnulls(source_page, bot_id) <= 1),
    constraint openers_source_page_known check (source_page in (
        'board-finance', 'board-customer', 'board-coach', 'task-detail', 'customer-detail',
        'coach-detail', 'performance')),
    constraint openers_texts_few check (cardinality(texts) between 1 and 6)
);
comment on table biz.openers is 'Questions with which a user may begin a chat';
comment on column biz.openers.site_id is 'Null: the default of all sites';
comment on column biz.openers.source_page is
    'Page of the mini-program; null with bot_id null: a chat from anywhere else';
comment on column biz.openers.bot_id is 'Conversation with this bot';
