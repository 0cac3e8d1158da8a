-- One row per call of an app, by month, so that retention is a dropped partition
-- and not a delete of millions of rows.
create sequence biz.ai_run_logs_id_seq as bigint;

create table biz.ai_run_logs (
    id bigint not null default nextval('biz.ai_run_logs_id_seq'),
    site_id bigint not null,
    user_id bigint,
    app_type text not null,
    trigger_type text not null,
    member_id bigint,
    message_id bigint,
    job_id bigint,
    status text not null,
    alert_status text,
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
    constraint ai_run_logs_pkey primary key (id, created_at),
    constraint ai_run_logs_app_type_known check (app_type in (
        'app1_chat', 'app2_finance', 'app2a_finance_area', 'app3_clue', 'app4_analysis', 'app5_tactics',
        'app6_note_analysis', 'app7_customer_analysis', 'app8_clue_consolidated')),
    constraint ai_run_logs_trigger_type_known check (trigger_type in ('chat', 'session', 'event', 'prewarm', 'batch', 'manual')),
    constraint ai_run_logs_status_known check (status in (
        'running', 'success', 'failed', 'timeout', 'circuit_open', 'budget_exceeded', 'stopped')),
    constraint ai_run_logs_alert_status_known check (alert_status in ('pending', 'acknowledged', 'ignored'))
) partition by range (created_at);
alter sequence biz.ai_run_logs_id_seq owned by biz.ai_run_logs.id;

create index ai_run_logs_site_idx on biz.ai_run_logs (site_id, created_at desc, id desc);
create index ai_run_logs_alerts_idx on biz.ai_run_logs (site_id, alert_status, created_at desc, id desc)
    where alert_status is not null;
create index ai_run_logs_running_idx on biz.ai_run_logs (created_at) where status = 'running';

comment on table biz.ai_run_logs is 'One call of an app, whatever became of it';
comment on column biz.ai_run_logs.alert_status is 'Only of runs that failed, timed out or met an open circuit';
comment on column biz.ai_run_logs.tokens_used is 'As DashScope said; null when it did not';
comment on column biz.ai_run_logs.tokens_estimated is 'The service did not say: the reservation stands as the charge';
comment on column biz.ai_run_logs.reserved_tokens is 'Held against the budget until the run ends';
comment on column biz.ai_run_logs.local_day is 'The site''s day on which the run began: where it is counted and charged';
comment on column biz.ai_run_logs.attempts is 'Requests sent to DashScope, retries included';

-- Rows of a month for which nobody made a partition. It should stay empty; it is there
-- so that a call is never refused because of housekeeping.
create table biz.ai_run_logs_default partition of biz.ai_run_logs default;
comment on table biz.ai_run_logs_default is 'Runs of months without a partition of their own; normally empty';

create function biz.make_run_log_partitions(months_ahead integer default 2) returns integer
language plpgsql as $$
declare
    v_month date;
    v_made integer := 0;
begin
    for v_month in
        select (date_trunc('month', now() at time zone 'UTC') + make_interval(months => n))::date
        from generate_series(0, months_ahead) as n
    loop
        if to_regclass(format('biz.ai_run_logs_%s', to_char(v_month, 'YYYYMM'))) is null then
            execute format(
                'create table biz.ai_run_logs_%s partition of biz.ai_run_logs for values from (%L) to (%L)',
                to_char(v_month, 'YYYYMM'),
                v_month::timestamp at time zone 'UTC',
                (v_month + interval '1 month')::timestamp at time zone 'UTC');
            v_made := v_made + 1;
        end if;
    end loop;
    return v_made;
end $$;
comment on function biz.make_run_log_partitions is 'Makes the partitions of this month and those ahead; says how many were missing';

select biz.make_run_log_partitions();
