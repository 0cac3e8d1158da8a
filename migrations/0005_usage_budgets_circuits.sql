-- Token usage, budgets, and the circuit breakers of the apps.

create domain biz.latency_histogram as bigint[]
    constraint latency_histogram_has_16_buckets check (cardinality(value) = 16);
comment on domain biz.latency_histogram is 'Ended runs by latency_bucket';

-- The fill factors leave free space in each page. Counters are updated all the time; with free
-- space in the page such an update is heap-only (HOT) and changes no index.
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
-- The health of an app is read from here, because biz.ai_run_logs has millions of rows.
create index ai_usage_daily_app_idx on biz.ai_usage_daily (site_id, app_type, day desc);
comment on table biz.ai_usage_daily is
    'Counters of a site''s day by app, changed in the statement that ends a run; '
    'the dashboard reads only this';
comment on column biz.ai_usage_daily.day is 'The site''s local day on which the run began';
comment on column biz.ai_usage_daily.tokens is
    'Charged: what the service said, or the reservation where it did not';
comment on column biz.ai_usage_daily.reserved_tokens is 'Held by runs that have not ended';
comment on column biz.ai_usage_daily.last_status is 'How the run that ended last had gone';
comment on column biz.ai_usage_daily.last_call_at is 'When the run that ended last had begun';

-- Admission reads the budget of its site for every call: at most 31 rows of this table, instead of
-- 31 rows of biz.ai_usage_daily for each app. `open_run` and `finish_run` write it, always before
-- the app's row of the same day. So who has locked the day has locked the rows of all its apps.
create table biz.ai_usage_days (
    site_id bigint not null constraint ai_usage_days_site_id_fkey references biz.sites (id),
    day date not null,
    tokens biz.counter not null,
    constraint ai_usage_days_pkey primary key (site_id, day)
) with (fillfactor = 50);
comment on table biz.ai_usage_days is
    'What counts against a site''s budgets, by day: the sum of biz.ai_usage_daily over the apps';
comment on column biz.ai_usage_days.tokens is 'Charged, or reserved by runs that have not ended';

-- Read each minute by the alarm on the fullest budget: adding up the month of 3,000 sites took
-- 2 seconds. Admission does not use it; it adds up its one site.
create table biz.ai_usage_before (
    site_id bigint not null
        constraint ai_usage_before_pkey primary key
        constraint ai_usage_before_site_id_fkey references biz.sites (id),
    day date not null,
    tokens bigint not null
) with (fillfactor = 50);
comment on table biz.ai_usage_before is
    'What a site had used of its month when a day of its began, '
    'so that nobody adds it up each minute';
comment on column biz.ai_usage_before.tokens is 'What runs then under way held is used';

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
    'Token limits per site; the row without a site is the default of all others';
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
comment on table biz.ai_circuits is 'Whether an app may be asked, shared by all function instances';
comment on column biz.ai_circuits.failures is 'Consecutive failures of the service''s making';
comment on column biz.ai_circuits.open_seconds is
    'How long it stays open; doubled by each failed probe, up to 600';
comment on column biz.ai_circuits.retry_at is
    'open: when one probe may go; half_open: when another may, should the probe never end';
comment on column biz.ai_circuits.probe_run_id is 'half_open: the run whose end decides';
