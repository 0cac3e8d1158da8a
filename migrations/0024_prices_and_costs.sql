-- Usage by model, prices of models, costs of runs, and budgets in yuan.
set local lock_timeout = '3s';
set local statement_timeout = '120s';

create table biz.ai_prices (
    model text not null,
    valid_from date not null,
    up_to_input_tokens bigint[] not null,
    input_per_million bigint[] not null,
    output_per_million bigint[] not null,
    updated_at timestamptz not null default now(),
    constraint ai_prices_pkey primary key (model, valid_from),
    constraint ai_prices_tiers_whole check (
        cardinality(input_per_million) = cardinality(up_to_input_tokens) + 1
        and cardinality(output_per_million) = cardinality(input_per_million))
);
comment on table biz.ai_prices is
    'Prices of models. The newest price that is not after the day of a run applies';
comment on column biz.ai_prices.model is 'As DashScope reports it in usage.models[].model_id';
comment on column biz.ai_prices.up_to_input_tokens is
    'Upper bounds of the tiers but the last, ascending and inclusive: input tokens of the model in '
    'one run';
comment on column biz.ai_prices.input_per_million is
    'In millionths of a yuan per million input tokens. One element for each tier';
comment on column biz.ai_prices.output_per_million is
    'In millionths of a yuan per million output tokens. One element for each tier';

alter table biz.ai_run_logs
    add column bot_id uuid,
    add column models jsonb,
    add column model_costs bigint[],
    add column model_id text,
    add column finish_reason text,
    add column cost bigint;
comment on column biz.ai_run_logs.bot_id is
    'Bot of the chat or session; null for other runs and in older rows';
comment on column biz.ai_run_logs.models is
    'Tokens of each model, most tokens first: a list of ModelUsage in Rust; null while the run is '
    'running and in older rows';
comment on column biz.ai_run_logs.model_costs is
    'Cost of each element of models, in millionths of a yuan; null if the model has no price';
comment on column biz.ai_run_logs.model_id is 'The model that used most tokens';
comment on column biz.ai_run_logs.finish_reason is
    'Why DashScope ended the answer, such as stop; null if it did not end';
comment on column biz.ai_run_logs.cost is
    'In millionths of a yuan; null if a model has no price or the usage of a try is unknown';

alter table biz.ai_usage_daily
    add column tokens_in biz.counter not null default 0,
    add column tokens_out biz.counter not null default 0,
    add column cost biz.counter not null default 0,
    add column unpriced_calls biz.counter not null default 0;
comment on column biz.ai_usage_daily.tokens_in is
    'Input tokens that DashScope reported; 0 in rows that are older than this column';
comment on column biz.ai_usage_daily.tokens_out is
    'Output tokens that DashScope reported; 0 in rows that are older than this column';
comment on column biz.ai_usage_daily.cost is 'Sum of the known costs, in millionths of a yuan';
comment on column biz.ai_usage_daily.unpriced_calls is 'Calls whose cost is not known';
update biz.ai_usage_daily set unpriced_calls = calls where calls > 0;

alter table biz.ai_usage_days add column cost biz.counter not null default 0;
comment on column biz.ai_usage_days.cost is 'Sum of the known costs, in millionths of a yuan';

alter table biz.ai_usage_before add column cost bigint not null default 0;
comment on table biz.ai_usage_before is
    'Tokens and cost that a site had used of its month at the start of a day, so that they are not '
    'added up every minute';
comment on column biz.ai_usage_before.cost is 'In millionths of a yuan';

-- Nearly every run updates a row. With free space in the page, such an update is heap-only (HOT).
create table biz.ai_usage_details (
    site_id bigint not null constraint ai_usage_details_site_id_fkey references biz.sites (id),
    day date not null,
    user_id bigint,
    bot_id uuid,
    model_id text,
    calls biz.counter not null,
    successes biz.counter not null,
    failures biz.counter not null,
    tokens_in biz.counter not null,
    tokens_out biz.counter not null,
    tokens biz.counter not null,
    cost biz.counter not null,
    unpriced_calls biz.counter not null,
    constraint ai_usage_details_key
        unique nulls not distinct (site_id, day, user_id, bot_id, model_id)
) with (fillfactor = 50);
comment on table biz.ai_usage_details is
    'Counters by site, day, user, bot and model, updated in the statement that ends a run. The sums '
    'over users, bots and models are those of ai_usage_daily since this table exists';
comment on column biz.ai_usage_details.user_id is
    'Null: runs of jobs; not a foreign key, because the row must outlive its user';
comment on column biz.ai_usage_details.bot_id is 'Null: runs without a bot';
comment on column biz.ai_usage_details.model_id is
    'Null: DashScope did not report a model. A run with several models counts as a call of the one '
    'that used most tokens';
comment on column biz.ai_usage_details.tokens is 'Charged tokens, as in ai_usage_daily';
comment on column biz.ai_usage_details.cost is
    'Sum of the known costs of runs, each split by model, in millionths of a yuan';

alter table biz.ai_budgets
    add column daily_cost_limit bigint,
    add column monthly_cost_limit bigint,
    add column daily_cap bigint,
    add column monthly_cap bigint;
comment on table biz.ai_budgets is
    'Limits per site, in tokens and in yuan; the row without a site is the default for all others';
comment on column biz.ai_budgets.daily_cost_limit is 'In millionths of a yuan; null: none';
comment on column biz.ai_budgets.monthly_cost_limit is 'In millionths of a yuan; null: none';
comment on column biz.ai_budgets.daily_cap is
    'The highest daily_limit that may be set, which only platform admins change; null: any';
comment on column biz.ai_budgets.monthly_cap is
    'The highest monthly_limit that may be set, which only platform admins change; null: any';
