-- Quotas: how many tokens a user, a role or a bot may use per day and per month.
set local lock_timeout = '3s';
set local statement_timeout = '120s';

create domain biz.quota_subject as text
    constraint quota_subject_known check (value in ('user', 'role', 'bot'));
comment on domain biz.quota_subject is
    'Whose tokens a quota limits. role: those of each user of the role';

create table biz.ai_quotas (
    site_id bigint not null constraint ai_quotas_site_id_fkey references biz.sites (id),
    subject_type biz.quota_subject not null,
    subject_id text not null,
    daily_limit bigint,
    monthly_limit bigint,
    constraint ai_quotas_pkey primary key (site_id, subject_type, subject_id),
    constraint ai_quotas_limited check (daily_limit is not null or monthly_limit is not null),
    constraint ai_quotas_limits_counted check (daily_limit >= 0 and monthly_limit >= 0)
);
comment on table biz.ai_quotas is
    'Token limits for the calls of users, besides the budget of the site. What has been used is in '
    'biz.ai_usage_details, what is reserved in the running rows of biz.ai_run_logs';
comment on column biz.ai_quotas.subject_id is
    'The id of the user or bot, or the role. No foreign key: it has three targets';
comment on column biz.ai_quotas.daily_limit is 'Null: none';
comment on column biz.ai_quotas.monthly_limit is 'Null: none';

-- Adds up the tokens of a bot. The index for users is ai_usage_details_key.
create index ai_usage_details_bot_idx on biz.ai_usage_details (site_id, bot_id, day)
    where bot_id is not null;

-- A refusal by a quota is logged and counts against the user's rate, like one by the budget.
alter domain biz.run_status drop constraint run_status_known;
-- squawk-ignore ban-alter-domain-with-add-constraint
alter domain biz.run_status add constraint run_status_known check (value in (
    'running', 'success', 'failed', 'timeout', 'circuit_open', 'budget_exceeded',
    'quota_exceeded', 'stopped'));
