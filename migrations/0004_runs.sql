-- Runs: one row per call of an application. The table is partitioned by month, so that old rows are
-- removed by dropping a partition instead of deleting millions of rows.

create domain biz.app_type as text
    constraint app_type_known check (value in (
        'app1_chat', 'app2_finance', 'app2a_finance_area', 'app3_clue', 'app4_analysis',
        'app5_tactics', 'app6_note_analysis', 'app7_customer_analysis', 'app8_clue_consolidated'));
create domain biz.run_trigger as text
    constraint run_trigger_known
    check (value in ('chat', 'session', 'event', 'prewarm', 'batch', 'manual'));
create domain biz.run_status as text
    constraint run_status_known check (value in (
        'running', 'success', 'failed', 'timeout', 'circuit_open', 'budget_exceeded', 'stopped'));
create domain biz.alert_status as text
    constraint alert_status_known check (value in ('pending', 'acknowledged', 'ignored'));
comment on domain biz.app_type is 'Applications';
comment on domain biz.run_trigger is 'Cause of a run';
comment on domain biz.run_status is 'running until the run ends; the others are final';
comment on domain biz.alert_status is 'Verdict of an admin on a failed run';

-- A sequence, because partitions do not inherit an identity column before PostgreSQL 17.
create sequence biz.ai_run_logs_id_seq as bigint;

create table biz.ai_run_logs (
    id bigint not null default nextval('biz.ai_run_logs_id_seq'),
    site_id bigint not null,
    user_id bigint,
    app_type biz.app_type not null,
    trigger_type biz.run_trigger not null,
    member_id bigint,
    message_id bigint,
    job_id bigint,
    status biz.run_status not null,
    alert_status biz.alert_status,
    prompt_version text,
    request_prompt text,
    response_text text,
    tokens_in bigint,
    tokens_out bigint,
    tokens_used bigint,
    tokens_estimated boolean not null default false,
    reserved_tokens bigint not null default 0,
    local_day date not null,
    first_token_ms bigint,
    latency_ms bigint,
    attempts integer not null default 0,
    session_id text,
    upstream_request_id text,
    error_code text,
    error_message text,
    created_at timestamptz not null default now(),
    finished_at timestamptz,
    constraint ai_run_logs_pkey primary key (id, created_at)
) partition by range (created_at);
alter sequence biz.ai_run_logs_id_seq owned by biz.ai_run_logs.id;
comment on table biz.ai_run_logs is 'Calls of applications, also refused and failed ones';
comment on column biz.ai_run_logs.alert_status is
    'Only for runs that failed, timed out or were refused by an open circuit';
comment on column biz.ai_run_logs.tokens_used is
    'As reported by DashScope; null if it reported nothing';
comment on column biz.ai_run_logs.tokens_estimated is
    'True if DashScope reported no usage; then the reserved tokens are charged';
comment on column biz.ai_run_logs.reserved_tokens is
    'Reserved from the budget until the run ends';
comment on column biz.ai_run_logs.local_day is
    'The site''s day on which the run began; usage and counters belong to this day';
comment on column biz.ai_run_logs.attempts is 'Requests sent to DashScope, including retries';

-- `make_run_log_partitions` creates the monthly partitions, first in the migration, then in the
-- sweep. Rows of a month without a partition are stored here, so that no call fails.
create table biz.ai_run_logs_default partition of biz.ai_run_logs default;
comment on table biz.ai_run_logs_default is
    'Runs of months without a partition; normally empty';

create index ai_run_logs_site_idx on biz.ai_run_logs (site_id, created_at desc, id desc);
create index ai_run_logs_running_idx on biz.ai_run_logs (created_at) where status = 'running';
create index ai_run_logs_job_idx on biz.ai_run_logs (job_id, created_at, id)
    where job_id is not null;
-- The filtered list reads a few rows of each combination of app, status and trigger, and merges
-- them. So its cost depends neither on the filters nor on the number of matching rows.
create index ai_run_logs_filter_idx
    on biz.ai_run_logs (site_id, app_type, status, trigger_type, created_at desc, id desc);
-- Groups alerts by cause without reading the table; the included columns are part of the cause.
create index ai_run_logs_causes_idx
    on biz.ai_run_logs (site_id, app_type, alert_status, created_at desc, id desc)
    include (status, error_code)
    where alert_status is not null;
-- The newest alerts of a site in any status, for the dashboard.
create index ai_run_logs_alerts_idx on biz.ai_run_logs (site_id, created_at desc, id desc)
    where alert_status is not null;
