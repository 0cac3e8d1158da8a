-- Token usage, budgets, and circuit breakers of the applications.

create domain biz.latency_histogram as bigint[]
    constraint latency_histogram_has_16_buckets check (cardinality(value) = 16);
comment on domain biz.latency_histogram is
    'Number of ended runs by bucket; see function latency_bucket';

-- The fill factors leave free space in each page. Counters are updated very often. With free space
-- in the page, such an update is heap-only (HOT) and changes no index.
create table biz.ai_usage_daily (
    site_id bigint not null constraint ai_usage_daily_site_id_fkey references biz.sites (id),
    day date not null,
    app_type text not null,
    calls biz.counter not null default 0,
    successes biz.counter not null default 0,
    failures biz.counter not null default 0,
    tokens biz.counter not null default 0,
    reserved_tokens biz.counter not null default 0,
    latency_sum_ms bigint not null default 0,
    latency_histogram biz.latency_histogram not null default array_fill(0::bigint, array[16]),
    last_status text,
    last_call_at timestamptz,
    constraint ai_usage_daily_pkey primary key (site_id, day, app_type)
) with (fillfactor = 50);
-- The health of an app is read from this table, because biz.ai_run_logs has millions of rows.
create index ai_usage_daily_app_idx on biz.ai_usage_daily (site_id, app_type, day desc);
comment on table biz.ai_usage_daily is
    'Counters by site, day and app, updated in the statement that ends a run; the dashboard reads '
    'only this table';
comment on column biz.ai_usage_daily.day is 'The site''s local day on which the run began';
comment on column biz.ai_usage_daily.tokens is
    'Charged tokens: as reported by DashScope, or the reservation if it reported nothing';
comment on column biz.ai_usage_daily.reserved_tokens is
    'Reserved by runs that have not ended';
comment on column biz.ai_usage_daily.last_status is 'Status of the run that ended last';
comment on column biz.ai_usage_daily.last_call_at is 'Start of the run that ended last';

-- Admission reads the usage of its site for every call: at most 31 rows of this table, instead of
-- 31 rows of biz.ai_usage_daily per app. `open_run` and `finish_run` write it before the app's row
-- of the same day. So a lock on the day's row protects the rows of all apps.
create table biz.ai_usage_days (
    site_id bigint not null constraint ai_usage_days_site_id_fkey references biz.sites (id),
    day date not null,
    tokens biz.counter not null,
    constraint ai_usage_days_pkey primary key (site_id, day)
) with (fillfactor = 50);
comment on table biz.ai_usage_days is
    'Usage of a site''s budgets by day: the sum of biz.ai_usage_daily over all apps';
comment on column biz.ai_usage_days.tokens is
    'Charged, or reserved by runs that have not ended';

-- Read every minute for the alarm on the fullest budget. Without it, adding up the month of 3,000
-- sites took 2 seconds. Admission does not use it; it adds up the days of its own site.
create table biz.ai_usage_before (
    site_id bigint not null
        constraint ai_usage_before_pkey primary key
        constraint ai_usage_before_site_id_fkey references biz.sites (id),
    day date not null,
    tokens bigint not null
) with (fillfactor = 50);
comment on table biz.ai_usage_before is
    'Tokens that a site had used of its month at the start of a day, so that they are not added '
    'up every minute';
comment on column biz.ai_usage_before.tokens is
    'Includes the reservations of runs that had not ended at that time';

create table biz.ai_budgets (
    id bigint generated always as identity constraint ai_budgets_pkey primary key,
    site_id bigint constraint ai_budgets_site_id_fkey references biz.sites (id),
    daily_limit bigint not null default 100000,
    monthly_limit bigint not null default 2000000,
    updated_by bigint,
    updated_at timestamptz not null default now(),
    constraint ai_budgets_site_id_key unique nulls not distinct (site_id),
    constraint ai_budgets_limits_counted check (daily_limit >= 0 and monthly_limit >= 0)
);
comment on table biz.ai_budgets is
    'Token limits per site; the row without a site is the default for all others';
insert into biz.ai_budgets (site_id) values (null);

create table biz.ai_circuits (
    app_type text constraint ai_circuits_pkey primary key,
    state text not null default 'closed',
    failures integer not null default 0,
    opened_at timestamptz,
    open_seconds integer not null default 60,
    retry_at timestamptz,
    probe_run_id bigint,
    constraint ai_circuits_state_known check (state in ('closed', 'open', 'half_open')),
    constraint ai_circuits_waits_when_not_closed check ((state = 'closed') = (retry_at is null))
);
comment on table biz.ai_circuits is
    'Circuit breakers of the apps, shared by all function instances';
comment on column biz.ai_circuits.failures is 'Consecutive failures caused by DashScope';
comment on column biz.ai_circuits.open_seconds is
    'How long the circuit stays open; doubled by each failed probe, up to 600';
comment on column biz.ai_circuits.retry_at is
    'open: when a probe is allowed; half_open: when another probe is allowed if the first one has '
    'not ended';
comment on column biz.ai_circuits.probe_run_id is
    'half_open: the run whose result closes or reopens the circuit';
