-- Applications as data: which DashScope application an app calls, and with which options.

create domain biz.flow_stream_mode as text
    constraint flow_stream_mode_known
    check (value in ('full_thoughts', 'agent_format', 'message_format', 'message_format_plus'));
comment on domain biz.flow_stream_mode is
    'How a workflow application streams the output of its nodes; see DashScope''s API';

create table biz.ai_apps (
    id bigint generated always as identity constraint ai_apps_pkey primary key,
    site_id bigint constraint ai_apps_site_id_fkey references biz.sites (id),
    app_type biz.app_type not null,
    application_id text,
    fallback_application_id text,
    enabled boolean,
    rag_options jsonb,
    flow_stream_mode biz.flow_stream_mode,
    has_thoughts boolean,
    first_token_seconds integer,
    max_per_second integer,
    updated_at timestamptz not null default now(),
    constraint ai_apps_site_id_app_type_key unique nulls not distinct (site_id, app_type),
    constraint ai_apps_application_id_given check (application_id <> ''),
    constraint ai_apps_fallback_given check (fallback_application_id <> ''),
    constraint ai_apps_rag_options_object check (jsonb_typeof(rag_options) = 'object'),
    constraint ai_apps_first_token_seconds_bounded check (first_token_seconds between 1 and 600),
    constraint ai_apps_max_per_second_bounded check (max_per_second between 1 and 100)
);
comment on table biz.ai_apps is
    'The DashScope application of an app, by site. The row without a site is the default for all '
    'sites. A null column inherits: from the default row, then from the environment';
comment on column biz.ai_apps.application_id is
    'Id in the DashScope console; without one here or in the environment, the app is disabled';
comment on column biz.ai_apps.fallback_application_id is
    'Called once, with the history, if the circuit of the application is open or if it throttles; '
    'the id of the application itself overrides the default row with no fallback';
comment on column biz.ai_apps.enabled is 'False disables the app; null inherits, true without a default';
comment on column biz.ai_apps.rag_options is
    'parameters.rag_options of each request, such as {"pipeline_ids": ["…"]}; {} sends an empty '
    'object, which also overrides the default row';
comment on column biz.ai_apps.has_thoughts is
    'parameters.has_thoughts of each request; full_thoughts needs it';
comment on column biz.ai_apps.first_token_seconds is
    'Overrides DASHSCOPE_FIRST_TOKEN_SECONDS: until the first text of a streamed reply';
comment on column biz.ai_apps.max_per_second is
    'The app is called only if its application had fewer calls in the last second; 100 if null';

-- Every call updates its row. With free space in the page, such an update is heap-only (HOT).
create table biz.ai_app_calls (
    app_id text constraint ai_app_calls_pkey primary key,
    called_at timestamptz[] not null
) with (fillfactor = 50);
comment on table biz.ai_app_calls is
    'The newest calls of each DashScope application, for the limit of calls per second';
comment on column biz.ai_app_calls.called_at is 'At most 100, newest first';

alter table biz.agents
    add column fallback_application_id text,
    add constraint agents_fallback_given check (fallback_application_id <> '');
comment on column biz.agents.fallback_application_id is
    'Called once, with the history, if the circuit of app_id is open or if it throttles';
