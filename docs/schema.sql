CREATE SCHEMA biz;
COMMENT ON SCHEMA biz IS 'Parlor: chat, AI governance and their tenants';
CREATE SCHEMA dws;
CREATE DOMAIN biz.ai_subject AS text
	CONSTRAINT ai_subject_known CHECK ((VALUE = ANY (ARRAY['message'::text, 'insight'::text])));
COMMENT ON DOMAIN biz.ai_subject IS 'Kind of an AI text: a reply in a chat, or a result of an app';
CREATE DOMAIN biz.alert_status AS text
	CONSTRAINT alert_status_known CHECK ((VALUE = ANY (ARRAY['pending'::text, 'acknowledged'::text, 'ignored'::text])));
COMMENT ON DOMAIN biz.alert_status IS 'Verdict of an admin on a failed run';
CREATE DOMAIN biz.api_key_scope AS text
	CONSTRAINT api_key_scope_known CHECK ((VALUE = ANY (ARRAY['jobs:write'::text, 'usage:read'::text])));
COMMENT ON DOMAIN biz.api_key_scope IS 'What a machine key may call';
CREATE DOMAIN biz.app_type AS text
	CONSTRAINT app_type_named CHECK ((VALUE ~~ 'app%'::text));
COMMENT ON DOMAIN biz.app_type IS 'Name of an app in app_types';
CREATE DOMAIN biz.channel_kind AS text
	CONSTRAINT channel_kind_known CHECK ((VALUE = ANY (ARRAY['wecom'::text, 'dingtalk'::text, 'feishu'::text, 'webhook'::text])));
COMMENT ON DOMAIN biz.channel_kind IS 'The service that receives notifications';
CREATE DOMAIN biz.content_type AS text
	CONSTRAINT content_type_known CHECK ((VALUE = ANY (ARRAY['markdown'::text, 'text'::text])));
COMMENT ON DOMAIN biz.content_type IS 'Format of a message';
CREATE DOMAIN biz.context_id AS text
	CONSTRAINT context_id_short CHECK ((char_length(VALUE) <= 64));
COMMENT ON DOMAIN biz.context_id IS 'Subject of a conversation: an id that the client gives';
CREATE DOMAIN biz.context_type AS text
	CONSTRAINT context_type_known CHECK ((VALUE = ANY (ARRAY['general'::text, 'task'::text, 'customer'::text, 'coach'::text, 'board'::text, 'bot'::text])));
COMMENT ON DOMAIN biz.context_type IS 'Kind of the subject of a conversation';
CREATE DOMAIN biz.conversation_status AS text
	CONSTRAINT conversation_status_known CHECK ((VALUE = ANY (ARRAY['active'::text, 'paused'::text, 'closed'::text])));
COMMENT ON DOMAIN biz.conversation_status IS 'Only an active conversation accepts messages';
CREATE DOMAIN biz.counter AS bigint
	CONSTRAINT counter_not_negative CHECK ((VALUE >= 0));
COMMENT ON DOMAIN biz.counter IS 'A number that is never negative';
CREATE DOMAIN biz.delivery_event AS text
	CONSTRAINT delivery_event_known CHECK ((VALUE = ANY (ARRAY['opened'::text, 'recovered'::text, 'summary'::text, 'test'::text])));
COMMENT ON DOMAIN biz.delivery_event IS 'What a delivery says';
CREATE DOMAIN biz.delivery_state AS text
	CONSTRAINT delivery_state_known CHECK ((VALUE = ANY (ARRAY['pending'::text, 'held'::text, 'summarised'::text, 'sent'::text, 'failed'::text])));
COMMENT ON DOMAIN biz.delivery_state IS 'held: over the hourly cap, or muted; summarised: counted in a summary; failed: given up';
CREATE DOMAIN biz.flow_stream_mode AS text
	CONSTRAINT flow_stream_mode_known CHECK ((VALUE = ANY (ARRAY['full_thoughts'::text, 'agent_format'::text, 'message_format'::text, 'message_format_plus'::text])));
COMMENT ON DOMAIN biz.flow_stream_mode IS 'How a workflow application streams the output of its nodes; see DashScope''s API';
CREATE DOMAIN biz.incident_kind AS text
	CONSTRAINT incident_kind_known CHECK ((VALUE = ANY (ARRAY['alert'::text, 'circuit'::text, 'budget'::text, 'report'::text])));
COMMENT ON DOMAIN biz.incident_kind IS 'What a notification is about';
CREATE DOMAIN biz.job_wait AS text
	CONSTRAINT job_wait_known CHECK ((VALUE = ANY (ARRAY['budget'::text, 'circuit'::text, 'result'::text, 'reply'::text, 'retry'::text])));
COMMENT ON DOMAIN biz.job_wait IS 'What a pending job waits for: room in the budget, a circuit, the result or reply that another function makes, or its next try';
CREATE DOMAIN biz.latency_buckets AS bigint[]
	CONSTRAINT latency_buckets_in_range CHECK (((array_lower(VALUE, 1) >= 1) AND (array_upper(VALUE, 1) <= 86)));
COMMENT ON DOMAIN biz.latency_buckets IS 'Number of ended runs by bucket; see function latency_bounds. A missing or null element is 0. A run extends the array to its bucket, so that most rows are short';
CREATE DOMAIN biz.latency_histogram AS bigint[]
	CONSTRAINT latency_histogram_has_16_buckets CHECK ((cardinality(VALUE) = 16));
COMMENT ON DOMAIN biz.latency_histogram IS 'Number of ended runs by bucket; see function latency_bucket';
CREATE DOMAIN biz.message_role AS text
	CONSTRAINT message_role_known CHECK ((VALUE = ANY (ARRAY['user'::text, 'assistant'::text, 'system'::text])));
COMMENT ON DOMAIN biz.message_role IS 'Author of a message';
CREATE DOMAIN biz.message_state AS text
	CONSTRAINT message_state_known CHECK ((VALUE = ANY (ARRAY['complete'::text, 'streaming'::text, 'stopped'::text, 'interrupted'::text, 'failed'::text])));
COMMENT ON DOMAIN biz.message_state IS 'streaming while the reply is made; the others are final';
CREATE DOMAIN biz.notification_level AS text
	CONSTRAINT notification_level_known CHECK ((VALUE = ANY (ARRAY['info'::text, 'warning'::text, 'critical'::text])));
COMMENT ON DOMAIN biz.notification_level IS 'How urgent a notification is';
CREATE DOMAIN biz.quota_subject AS text
	CONSTRAINT quota_subject_known CHECK ((VALUE = ANY (ARRAY['user'::text, 'role'::text, 'bot'::text])));
COMMENT ON DOMAIN biz.quota_subject IS 'Whose tokens a quota limits. role: those of each user of the role';
CREATE DOMAIN biz.rating AS text
	CONSTRAINT rating_known CHECK ((VALUE = ANY (ARRAY['up'::text, 'down'::text])));
COMMENT ON DOMAIN biz.rating IS 'Thumb of a user';
CREATE DOMAIN biz.report_reason AS text
	CONSTRAINT report_reason_known CHECK ((VALUE = ANY (ARRAY['inaccurate'::text, 'unhelpful'::text, 'unsafe'::text, 'illegal'::text, 'privacy'::text, 'other'::text])));
COMMENT ON DOMAIN biz.report_reason IS 'What a user reports about an AI text';
CREATE DOMAIN biz.run_status AS text
	CONSTRAINT run_status_known CHECK ((VALUE = ANY (ARRAY['running'::text, 'success'::text, 'failed'::text, 'timeout'::text, 'circuit_open'::text, 'budget_exceeded'::text, 'quota_exceeded'::text, 'stopped'::text])));
COMMENT ON DOMAIN biz.run_status IS 'running until the run ends; the others are final';
CREATE DOMAIN biz.run_trigger AS text
	CONSTRAINT run_trigger_known CHECK ((VALUE = ANY (ARRAY['chat'::text, 'session'::text, 'event'::text, 'prewarm'::text, 'batch'::text, 'manual'::text])));
COMMENT ON DOMAIN biz.run_trigger IS 'Cause of a run';
CREATE FUNCTION biz.count_cache_entries() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    insert into biz.ai_cache_sizes as s (site_id, cache_type, entries)
    select c.site_id, c.cache_type, case tg_op when 'INSERT' then count(*) else -count(*) end
    from changed c group by 1, 2 order by 1, 2
    on conflict on constraint ai_cache_sizes_pkey do update
        set entries = s.entries + excluded.entries;
    return null;
end $$;
COMMENT ON FUNCTION biz.count_cache_entries() IS 'Updates biz.ai_cache_sizes after each statement';
CREATE FUNCTION biz.is_timezone(zone text) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE STRICT
    AS $$
begin
    perform timestamptz 'epoch' at time zone zone;
    return true;
exception when invalid_parameter_value then
    return false;
end $$;
COMMENT ON FUNCTION biz.is_timezone(zone text) IS 'True if PostgreSQL knows the time zone';
CREATE TABLE biz.agents (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name text NOT NULL,
    app_id text,
    deleted_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    fallback_application_id text,
    CONSTRAINT agents_app_id_given CHECK ((app_id <> ''::text)),
    CONSTRAINT agents_fallback_given CHECK ((fallback_application_id <> ''::text))
);
COMMENT ON TABLE biz.agents IS 'DashScope applications of bots';
COMMENT ON COLUMN biz.agents.app_id IS 'Application id in the DashScope console; null: bots with this agent do not reply';
COMMENT ON COLUMN biz.agents.deleted_at IS 'Time of deletion; the row and its conversations remain';
COMMENT ON COLUMN biz.agents.fallback_application_id IS 'Called once, with the history, if the circuit of app_id is open or if it throttles';
CREATE TABLE biz.ai_admin_audit (
    id bigint NOT NULL,
    site_id bigint,
    user_id bigint NOT NULL,
    action text NOT NULL,
    object_id text,
    details jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    api_key_id bigint,
    CONSTRAINT ai_admin_audit_action_form CHECK ((action ~ '^[a-z_]+\.[a-z_]+$'::text))
);
COMMENT ON TABLE biz.ai_admin_audit IS 'Changes by admins, written in the transaction of the change';
COMMENT ON COLUMN biz.ai_admin_audit.site_id IS 'Null: a change that concerns all sites';
COMMENT ON COLUMN biz.ai_admin_audit.user_id IS 'The admin; not a foreign key, because the row must outlive its user';
COMMENT ON COLUMN biz.ai_admin_audit.object_id IS 'The run, job or batch that was changed, if there is one';
COMMENT ON COLUMN biz.ai_admin_audit.details IS 'Parameters and result of the change';
COMMENT ON COLUMN biz.ai_admin_audit.api_key_id IS 'The machine key that made the change; user_id is then the admin who created the key. Not a foreign key, because the row must outlive its key';
ALTER TABLE biz.ai_admin_audit ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME biz.ai_admin_audit_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE biz.ai_app_calls (
    app_id text NOT NULL,
    called_at timestamp with time zone[] NOT NULL
)
WITH (fillfactor='50');
COMMENT ON TABLE biz.ai_app_calls IS 'The newest calls of each DashScope application, for the limit of calls per second';
COMMENT ON COLUMN biz.ai_app_calls.called_at IS 'At most 100, newest first';
CREATE TABLE biz.ai_apps (
    id bigint NOT NULL,
    site_id bigint,
    app_type biz.app_type NOT NULL,
    application_id text,
    fallback_application_id text,
    enabled boolean,
    rag_options jsonb,
    flow_stream_mode biz.flow_stream_mode,
    has_thoughts boolean,
    first_token_seconds integer,
    max_per_second integer,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT ai_apps_application_id_given CHECK ((application_id <> ''::text)),
    CONSTRAINT ai_apps_fallback_given CHECK ((fallback_application_id <> ''::text)),
    CONSTRAINT ai_apps_first_token_seconds_bounded CHECK (((first_token_seconds >= 1) AND (first_token_seconds <= 600))),
    CONSTRAINT ai_apps_max_per_second_bounded CHECK (((max_per_second >= 1) AND (max_per_second <= 100))),
    CONSTRAINT ai_apps_rag_options_object CHECK ((jsonb_typeof(rag_options) = 'object'::text))
);
COMMENT ON TABLE biz.ai_apps IS 'The DashScope application of an app, by site. The row without a site is the default for all sites. A null column inherits: from the default row, then from the environment';
COMMENT ON COLUMN biz.ai_apps.application_id IS 'Id in the DashScope console; without one here or in the environment, the app is disabled';
COMMENT ON COLUMN biz.ai_apps.fallback_application_id IS 'Called once, with the history, if the circuit of the application is open or if it throttles; the id of the application itself overrides the default row with no fallback';
COMMENT ON COLUMN biz.ai_apps.enabled IS 'False disables the app; null inherits, true without a default';
COMMENT ON COLUMN biz.ai_apps.rag_options IS 'parameters.rag_options of each request, such as {"pipeline_ids": ["…"]}; {} sends an empty object, which also overrides the default row';
COMMENT ON COLUMN biz.ai_apps.has_thoughts IS 'parameters.has_thoughts of each request; full_thoughts needs it';
COMMENT ON COLUMN biz.ai_apps.first_token_seconds IS 'Overrides DASHSCOPE_FIRST_TOKEN_SECONDS: until the first text of a streamed reply';
COMMENT ON COLUMN biz.ai_apps.max_per_second IS 'The app is called only if its application had fewer calls in the last second; 100 if null';
ALTER TABLE biz.ai_apps ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME biz.ai_apps_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE biz.ai_batches (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    site_id bigint NOT NULL,
    app_types text[] NOT NULL,
    member_ids bigint[] NOT NULL,
    estimated_calls bigint NOT NULL,
    estimated_tokens bigint NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    confirmed_at timestamp with time zone,
    cancelled_at timestamp with time zone,
    created_by bigint NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    estimated_cost bigint,
    CONSTRAINT ai_batches_calls_counted CHECK (((estimated_calls = (cardinality(app_types) * cardinality(member_ids))) AND (estimated_calls > 0)))
);
COMMENT ON TABLE biz.ai_batches IS 'Batches: apps to call for many members, with the estimated cost and the confirmation';
COMMENT ON COLUMN biz.ai_batches.app_types IS 'The chain of each job; an app is after those whose results it reads';
COMMENT ON COLUMN biz.ai_batches.expires_at IS 'The estimate can be confirmed until then';
COMMENT ON COLUMN biz.ai_batches.created_by IS 'The admin; not a foreign key, because the row must outlive its user';
COMMENT ON COLUMN biz.ai_batches.estimated_cost IS 'In millionths of a yuan; null if the cost of an app''s recent calls is not known';
CREATE TABLE biz.ai_budgets (
    id bigint NOT NULL,
    site_id bigint,
    daily_limit bigint DEFAULT 100000 NOT NULL,
    monthly_limit bigint DEFAULT 2000000 NOT NULL,
    updated_by bigint,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    daily_cost_limit bigint,
    monthly_cost_limit bigint,
    daily_cap bigint,
    monthly_cap bigint,
    CONSTRAINT ai_budgets_limits_counted CHECK (((daily_limit >= 0) AND (monthly_limit >= 0)))
);
COMMENT ON TABLE biz.ai_budgets IS 'Limits per site, in tokens and in yuan; the row without a site is the default for all others';
COMMENT ON COLUMN biz.ai_budgets.daily_cost_limit IS 'In millionths of a yuan; null: none';
COMMENT ON COLUMN biz.ai_budgets.monthly_cost_limit IS 'In millionths of a yuan; null: none';
COMMENT ON COLUMN biz.ai_budgets.daily_cap IS 'The highest daily_limit that may be set, which only platform admins change; null: any';
COMMENT ON COLUMN biz.ai_budgets.monthly_cap IS 'The highest monthly_limit that may be set, which only platform admins change; null: any';
ALTER TABLE biz.ai_budgets ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME biz.ai_budgets_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE biz.ai_cache (
    id bigint NOT NULL,
    site_id bigint NOT NULL,
    cache_type text NOT NULL,
    target_id text NOT NULL,
    member_id bigint,
    status text DEFAULT 'generating'::text NOT NULL,
    result_json jsonb,
    score integer,
    triggered_by text NOT NULL,
    job_id bigint,
    run_id bigint,
    business_date date NOT NULL,
    valid_days integer NOT NULL,
    generation integer DEFAULT 1 NOT NULL,
    lease_until timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    finished_at timestamp with time zone,
    expires_at timestamp with time zone,
    prompt_version text,
    CONSTRAINT ai_cache_finished_has_result CHECK (((status = 'generating'::text) OR ((result_json IS NOT NULL) AND (expires_at IS NOT NULL)))),
    CONSTRAINT ai_cache_generating_is_leased CHECK (((status = 'generating'::text) = (lease_until IS NOT NULL))),
    CONSTRAINT ai_cache_status_known CHECK ((status = ANY (ARRAY['generating'::text, 'valid'::text, 'expired'::text, 'invalidated'::text]))),
    CONSTRAINT ai_cache_target_bounded CHECK (((char_length(target_id) >= 1) AND (char_length(target_id) <= 200)))
);
COMMENT ON TABLE biz.ai_cache IS 'Results of the apps; the newest 20,000 per app and site are kept';
COMMENT ON COLUMN biz.ai_cache.cache_type IS 'Name of the app';
COMMENT ON COLUMN biz.ai_cache.target_id IS 'member:7, task:7, note:7, or for finance <period>:<area> and <period>';
COMMENT ON COLUMN biz.ai_cache.member_id IS 'Member of the result, if it has one';
COMMENT ON COLUMN biz.ai_cache.business_date IS 'The site''s business date when the generation started; on another date the result may be invalid';
COMMENT ON COLUMN biz.ai_cache.valid_days IS '0: until the end of the site''s day; otherwise this number of days after its completion';
COMMENT ON COLUMN biz.ai_cache.generation IS 'Increased when a job takes over an expired lease, so that the earlier job cannot write';
COMMENT ON COLUMN biz.ai_cache.lease_until IS 'generating: end of the lease of the job that generates the result';
COMMENT ON COLUMN biz.ai_cache.created_at IS 'When the generation started';
COMMENT ON COLUMN biz.ai_cache.prompt_version IS 'Version of the prompt of its run';
ALTER TABLE biz.ai_cache ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME biz.ai_cache_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE biz.ai_cache_sizes (
    site_id bigint NOT NULL,
    cache_type text NOT NULL,
    entries bigint NOT NULL
);
COMMENT ON TABLE biz.ai_cache_sizes IS 'Number of entries by site and app, so that the sweep does not count rows';
CREATE TABLE biz.ai_circuits (
    app_type text NOT NULL,
    state text DEFAULT 'closed'::text NOT NULL,
    failures integer DEFAULT 0 NOT NULL,
    opened_at timestamp with time zone,
    open_seconds integer DEFAULT 60 NOT NULL,
    retry_at timestamp with time zone,
    probe_run_id bigint,
    app_id text DEFAULT ''::text NOT NULL,
    CONSTRAINT ai_circuits_state_known CHECK ((state = ANY (ARRAY['closed'::text, 'open'::text, 'half_open'::text]))),
    CONSTRAINT ai_circuits_waits_when_not_closed CHECK (((state = 'closed'::text) = (retry_at IS NULL)))
);
COMMENT ON TABLE biz.ai_circuits IS 'Circuit breakers of the DashScope applications, shared by all function instances';
COMMENT ON COLUMN biz.ai_circuits.app_type IS 'The app that opened the circuit, for the dashboard';
COMMENT ON COLUMN biz.ai_circuits.failures IS 'Consecutive failures caused by DashScope';
COMMENT ON COLUMN biz.ai_circuits.open_seconds IS 'How long the circuit stays open; doubled by each failed probe, up to 600';
COMMENT ON COLUMN biz.ai_circuits.retry_at IS 'open: when a probe is allowed; half_open: when another probe is allowed if the first one has not ended';
COMMENT ON COLUMN biz.ai_circuits.probe_run_id IS 'half_open: the run whose result closes or reopens the circuit';
COMMENT ON COLUMN biz.ai_circuits.app_id IS 'Id of the DashScope application';
CREATE TABLE biz.ai_conversations (
    id bigint NOT NULL,
    public_id uuid DEFAULT gen_random_uuid() NOT NULL,
    site_id bigint NOT NULL,
    user_id bigint NOT NULL,
    context_type biz.context_type NOT NULL,
    context_id biz.context_id DEFAULT ''::text NOT NULL,
    business_date date,
    channel_type text DEFAULT 'miniprogram'::text NOT NULL,
    title text,
    status biz.conversation_status DEFAULT 'active'::text NOT NULL,
    message_count biz.counter DEFAULT 0 NOT NULL,
    unread_count biz.counter DEFAULT 0 NOT NULL,
    last_message_preview text,
    last_message_at timestamp with time zone,
    last_active_at timestamp with time zone DEFAULT now() NOT NULL,
    dashscope_session_id text,
    dashscope_session_at timestamp with time zone,
    dashscope_session_rounds integer DEFAULT 0 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    bot_id uuid,
    agent_id uuid,
    read_seq bigint DEFAULT 0 NOT NULL,
    last_message_id bigint,
    last_message_role text,
    pinned boolean DEFAULT false NOT NULL,
    CONSTRAINT ai_conversations_board_has_date CHECK ((((context_type)::text = 'board'::text) = (business_date IS NOT NULL))),
    CONSTRAINT ai_conversations_bot_has_id CHECK ((((context_type)::text = 'bot'::text) = (bot_id IS NOT NULL))),
    CONSTRAINT ai_conversations_last_message_whole CHECK ((num_nulls(last_message_id, last_message_role, last_message_preview, last_message_at) = ANY (ARRAY[0, 4]))),
    CONSTRAINT ai_conversations_unread_are_messages CHECK (((unread_count)::bigint <= (message_count)::bigint))
);
COMMENT ON TABLE biz.ai_conversations IS 'Conversations of users; the session API calls them sessions';
COMMENT ON COLUMN biz.ai_conversations.public_id IS 'Id in the session API';
COMMENT ON COLUMN biz.ai_conversations.context_id IS 'Subject of the conversation, an id that the client gives; part of the key';
COMMENT ON COLUMN biz.ai_conversations.business_date IS 'Only for board: one conversation per business date';
COMMENT ON COLUMN biz.ai_conversations.message_count IS 'Number of messages, and so the sequence number of the newest one: numbers have no gaps';
COMMENT ON COLUMN biz.ai_conversations.last_message_preview IS 'First 100 characters of the last message';
COMMENT ON COLUMN biz.ai_conversations.last_message_at IS 'When the last message was stored; for a reply, when it began';
COMMENT ON COLUMN biz.ai_conversations.last_active_at IS 'Time of the newest message or of the creation; orders the list and limits the reuse';
COMMENT ON COLUMN biz.ai_conversations.dashscope_session_id IS 'Session of DashScope. While it is valid, only the new message is sent, without the history';
COMMENT ON COLUMN biz.ai_conversations.dashscope_session_rounds IS 'Rounds in the session; DashScope drops a session after 50';
COMMENT ON COLUMN biz.ai_conversations.bot_id IS 'Bot of the conversation; null in the mini-program''s own chats';
COMMENT ON COLUMN biz.ai_conversations.agent_id IS 'The bot''s agent when the conversation was created';
COMMENT ON COLUMN biz.ai_conversations.read_seq IS 'Replies up to this sequence number are read; unread_count counts the later ones';
COMMENT ON COLUMN biz.ai_conversations.last_message_id IS 'The newest message that has text; null if there is none';
COMMENT ON COLUMN biz.ai_conversations.last_message_role IS 'Role of the last message';
COMMENT ON COLUMN biz.ai_conversations.pinned IS 'Pinned by its user; comes first in the list';
ALTER TABLE biz.ai_conversations ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME biz.ai_conversations_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE biz.ai_feedback (
    id bigint NOT NULL,
    site_id bigint NOT NULL,
    user_id bigint NOT NULL,
    subject_type biz.ai_subject NOT NULL,
    subject_id bigint NOT NULL,
    app_type biz.app_type NOT NULL,
    prompt_version text,
    run_id bigint,
    rating biz.rating NOT NULL,
    reasons text[] DEFAULT '{}'::text[] NOT NULL,
    comment text,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);
COMMENT ON TABLE biz.ai_feedback IS 'Feedback on AI texts: one row per user and text';
COMMENT ON COLUMN biz.ai_feedback.subject_id IS 'Id in ai_messages or ai_cache; not a foreign key, because it has two targets';
COMMENT ON COLUMN biz.ai_feedback.app_type IS 'App that made the text';
COMMENT ON COLUMN biz.ai_feedback.prompt_version IS 'Version of the prompt that made the text; null if the run is not known';
COMMENT ON COLUMN biz.ai_feedback.run_id IS 'Run that made the text; the run log may have dropped it since';
COMMENT ON COLUMN biz.ai_feedback.reasons IS 'What is wrong with the text: inaccurate, unhelpful, unsafe or other';
ALTER TABLE biz.ai_feedback ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME biz.ai_feedback_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE biz.ai_idempotency_keys (
    conversation_id bigint NOT NULL,
    key text NOT NULL,
    message_id bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);
COMMENT ON TABLE biz.ai_idempotency_keys IS 'Idempotency-Key headers of the session API, valid for 24 hours';
CREATE TABLE biz.ai_job_turns (
    site_id bigint NOT NULL,
    claimed_at timestamp with time zone NOT NULL
)
WITH (fillfactor='50');
COMMENT ON TABLE biz.ai_job_turns IS 'When a job of a site was last claimed, so that sites alternate, however long their queues are';
CREATE TABLE biz.ai_messages (
    id bigint NOT NULL,
    conversation_id bigint NOT NULL,
    site_id bigint NOT NULL,
    user_id bigint NOT NULL,
    seq bigint NOT NULL,
    role biz.message_role NOT NULL,
    content text DEFAULT ''::text NOT NULL,
    state biz.message_state DEFAULT 'complete'::text NOT NULL,
    reply_to bigint,
    client_message_id text,
    reference_card jsonb,
    tokens_used bigint,
    error_code text,
    lease_until timestamp with time zone,
    stop_requested_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    finished_at timestamp with time zone,
    content_type biz.content_type DEFAULT 'markdown'::text NOT NULL,
    doc_references jsonb,
    blocked_at timestamp with time zone,
    superseded_at timestamp with time zone,
    moderation jsonb,
    is_cut boolean,
    CONSTRAINT ai_messages_streaming_is_leased CHECK ((((state)::text = 'streaming'::text) = (lease_until IS NOT NULL)))
);
ALTER TABLE ONLY biz.ai_messages ALTER COLUMN content SET COMPRESSION lz4;
COMMENT ON TABLE biz.ai_messages IS 'Messages of conversations';
COMMENT ON COLUMN biz.ai_messages.user_id IS 'Owner of the conversation, also for messages of the assistant';
COMMENT ON COLUMN biz.ai_messages.seq IS 'Position in the conversation, from 1, without gaps: pages and cursors are ranges of it. A superseded message has its negative id, so that its position is free';
COMMENT ON COLUMN biz.ai_messages.content IS 'Text. Of a reply that is being made, the function reply_text reads it from its segments';
COMMENT ON COLUMN biz.ai_messages.state IS 'streaming while a function has the lease; the others are final';
COMMENT ON COLUMN biz.ai_messages.reply_to IS 'The message to which this one responds. A superseded message of the user without text records that the last question was asked again: then it is the reply that was made';
COMMENT ON COLUMN biz.ai_messages.client_message_id IS 'Chosen by the client; a repeat of the message has the same id';
COMMENT ON COLUMN biz.ai_messages.reference_card IS 'The insight that the prompt of the reply contained: {type, title, summary, data}';
COMMENT ON COLUMN biz.ai_messages.tokens_used IS 'As reported by DashScope; null if it reported nothing, never an estimate';
COMMENT ON COLUMN biz.ai_messages.error_code IS 'Code of the error event that ended the reply. content_blocked also marks the question';
COMMENT ON COLUMN biz.ai_messages.lease_until IS 'Renewed by each checkpoint; if it has expired, the function that made the reply is dead';
COMMENT ON COLUMN biz.ai_messages.stop_requested_at IS 'Stop flag, read at each checkpoint by the function that makes the reply';
COMMENT ON COLUMN biz.ai_messages.content_type IS 'Format for display: markdown or text';
COMMENT ON COLUMN biz.ai_messages.doc_references IS 'Documents that the reply cites: a list of {index, title, url, page}, sorted by index; null if it cites none';
COMMENT ON COLUMN biz.ai_messages.blocked_at IS 'When an admin blocked the message: lists show a fixed text, and no prompt contains it';
COMMENT ON COLUMN biz.ai_messages.superseded_at IS 'When a newer exchange replaced the message; it is in no list and no prompt';
COMMENT ON COLUMN biz.ai_messages.moderation IS 'Verdicts of moderation, without texts: a list of service, result, labels and traceId; null: not checked';
COMMENT ON COLUMN biz.ai_messages.is_cut IS 'True if the reply ended at the length limit of its model; null if it did not end by itself, and in older rows';
ALTER TABLE biz.ai_messages ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME biz.ai_messages_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE biz.ai_notices (
    site_id bigint NOT NULL,
    models jsonb,
    provider text,
    agreement_url text,
    complaint_phone text,
    complaint_email text,
    complaint_url text,
    CONSTRAINT ai_notices_email_whole CHECK ((complaint_email ~ '^[^@[:space:]]+@[^@[:space:]]+$'::text)),
    CONSTRAINT ai_notices_models_whole CHECK ((models = jsonb_path_query_array(models, '$[*]?(((@.type() == "object" && @."name".type() == "string") && @."name" != "") && (!(exists (@."filing_number")) || @."filing_number".type() == "string"))'::jsonpath))),
    CONSTRAINT ai_notices_urls_absolute CHECK (((agreement_url ~ '^https?://[^[:space:]]+$'::text) AND (complaint_url ~ '^https?://[^[:space:]]+$'::text)))
);
COMMENT ON TABLE biz.ai_notices IS 'What a site tells its users about the AI; null means the value of the deployment';
COMMENT ON COLUMN biz.ai_notices.models IS 'List of {"name", "filing_number"}; the number is optional';
CREATE TABLE biz.ai_prices (
    model text NOT NULL,
    valid_from date NOT NULL,
    up_to_input_tokens bigint[] NOT NULL,
    input_per_million bigint[] NOT NULL,
    output_per_million bigint[] NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT ai_prices_tiers_whole CHECK (((cardinality(input_per_million) = (cardinality(up_to_input_tokens) + 1)) AND (cardinality(output_per_million) = cardinality(input_per_million))))
);
COMMENT ON TABLE biz.ai_prices IS 'Prices of models. The newest price that is not after the day of a run applies';
COMMENT ON COLUMN biz.ai_prices.model IS 'As DashScope reports it in usage.models[].model_id';
COMMENT ON COLUMN biz.ai_prices.up_to_input_tokens IS 'Upper bounds of the tiers but the last, ascending and inclusive: input tokens of the model in one run';
COMMENT ON COLUMN biz.ai_prices.input_per_million IS 'In millionths of a yuan per million input tokens. One element for each tier';
COMMENT ON COLUMN biz.ai_prices.output_per_million IS 'In millionths of a yuan per million output tokens. One element for each tier';
CREATE TABLE biz.ai_quotas (
    site_id bigint NOT NULL,
    subject_type biz.quota_subject NOT NULL,
    subject_id text NOT NULL,
    daily_limit bigint,
    monthly_limit bigint,
    CONSTRAINT ai_quotas_limited CHECK (((daily_limit IS NOT NULL) OR (monthly_limit IS NOT NULL))),
    CONSTRAINT ai_quotas_limits_counted CHECK (((daily_limit >= 0) AND (monthly_limit >= 0)))
);
COMMENT ON TABLE biz.ai_quotas IS 'Token limits for the calls of users, besides the budget of the site. What has been used is in biz.ai_usage_details, what is reserved in the running rows of biz.ai_run_logs';
COMMENT ON COLUMN biz.ai_quotas.subject_id IS 'The id of the user or bot, or the role. No foreign key: it has three targets';
COMMENT ON COLUMN biz.ai_quotas.daily_limit IS 'Null: none';
COMMENT ON COLUMN biz.ai_quotas.monthly_limit IS 'Null: none';
CREATE TABLE biz.ai_refusals (
    user_id bigint NOT NULL,
    reason biz.run_status NOT NULL,
    app_id text NOT NULL,
    site_id bigint NOT NULL,
    run_id bigint NOT NULL,
    run_at timestamp with time zone NOT NULL,
    refusals biz.counter NOT NULL
)
WITH (fillfactor='50');
COMMENT ON TABLE biz.ai_refusals IS 'The last logged refusal of a user by budget or circuit, per reason and application. Refusals of the next minute are added to the same run, and count as messages against the user''s rate';
COMMENT ON COLUMN biz.ai_refusals.run_id IS 'The row of biz.ai_run_logs that counts the refusals';
COMMENT ON COLUMN biz.ai_refusals.run_at IS 'The first of these refusals; the others are within a minute';
CREATE TABLE biz.ai_reply_readers (
    id bigint NOT NULL,
    site_id bigint NOT NULL,
    user_id bigint NOT NULL,
    message_id bigint NOT NULL,
    is_replaced boolean DEFAULT false NOT NULL,
    lease_until timestamp with time zone NOT NULL
)
WITH (fillfactor='50');
COMMENT ON TABLE biz.ai_reply_readers IS 'Requests that read a reply from the database while it is made. Each holds a function instance';
COMMENT ON COLUMN biz.ai_reply_readers.is_replaced IS 'True if a newer reader has its place; it ends at its next read';
COMMENT ON COLUMN biz.ai_reply_readers.lease_until IS 'Renewed by each read; if it has expired, the function of the reader is dead';
ALTER TABLE biz.ai_reply_readers ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME biz.ai_reply_readers_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE biz.ai_reply_segments (
    message_id bigint NOT NULL,
    site_id bigint NOT NULL,
    from_char integer NOT NULL,
    text text NOT NULL
)
WITH (vacuum_truncate=off);
COMMENT ON TABLE biz.ai_reply_segments IS 'Text of the replies that are being made, one row for each checkpoint. An ended reply has none';
COMMENT ON COLUMN biz.ai_reply_segments.from_char IS 'Characters of the reply before this segment';
CREATE TABLE biz.ai_reports (
    id bigint NOT NULL,
    site_id bigint NOT NULL,
    user_id bigint NOT NULL,
    subject_type biz.ai_subject NOT NULL,
    subject_id bigint NOT NULL,
    reason biz.report_reason NOT NULL,
    text text,
    due_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    resolved_at timestamp with time zone,
    resolved_by bigint,
    answer text,
    CONSTRAINT ai_reports_resolved_whole CHECK ((num_nulls(resolved_at, resolved_by, answer) = ANY (ARRAY[0, 3])))
);
COMMENT ON TABLE biz.ai_reports IS 'Complaints of users about AI texts, each answered by an admin';
COMMENT ON COLUMN biz.ai_reports.subject_id IS 'Id in ai_messages or ai_cache; the row may have been deleted since';
COMMENT ON COLUMN biz.ai_reports.text IS 'Words of the user; null if there are none, or if the conversation was deleted';
COMMENT ON COLUMN biz.ai_reports.due_at IS 'An admin must answer until then';
COMMENT ON COLUMN biz.ai_reports.resolved_by IS 'The admin; not a foreign key, because the row must outlive its user';
ALTER TABLE biz.ai_reports ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME biz.ai_reports_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE biz.ai_result_failures (
    site_id bigint NOT NULL,
    cache_type text NOT NULL,
    target_id text NOT NULL,
    job_id bigint NOT NULL,
    error_code text,
    failed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);
COMMENT ON TABLE biz.ai_result_failures IS 'Targets whose last job failed; the row is deleted when a result is stored or requested again';
COMMENT ON COLUMN biz.ai_result_failures.cache_type IS 'Name of the app';
COMMENT ON COLUMN biz.ai_result_failures.target_id IS 'As in biz.ai_cache';
CREATE TABLE biz.ai_run_logs (
    id bigint NOT NULL,
    site_id bigint NOT NULL,
    user_id bigint,
    app_type biz.app_type NOT NULL,
    trigger_type biz.run_trigger NOT NULL,
    member_id bigint,
    message_id bigint,
    job_id bigint,
    status biz.run_status NOT NULL,
    alert_status biz.alert_status,
    prompt_version text,
    request_prompt text,
    response_text text,
    tokens_in bigint,
    tokens_out bigint,
    tokens_used bigint,
    tokens_estimated boolean DEFAULT false NOT NULL,
    reserved_tokens bigint DEFAULT 0 NOT NULL,
    local_day date NOT NULL,
    first_token_ms bigint,
    latency_ms bigint,
    attempts integer DEFAULT 0 NOT NULL,
    session_id text,
    upstream_request_id text,
    error_code text,
    error_message text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    finished_at timestamp with time zone,
    app_id text,
    tokens_charged bigint,
    refusals bigint,
    prompt_tokens bigint,
    conversation_id bigint,
    bot_id uuid,
    models jsonb,
    model_costs bigint[],
    model_id text,
    finish_reason text,
    cost bigint
)
PARTITION BY RANGE (created_at);
COMMENT ON TABLE biz.ai_run_logs IS 'Calls of applications, also refused and failed ones';
COMMENT ON COLUMN biz.ai_run_logs.alert_status IS 'Only for runs that failed, timed out, were refused by an open circuit, or have implausible usage';
COMMENT ON COLUMN biz.ai_run_logs.tokens_used IS 'Reported by DashScope for all tries together; null if it reported nothing';
COMMENT ON COLUMN biz.ai_run_logs.tokens_estimated IS 'True if the usage of a try is unknown; then the reserved tokens are charged for it';
COMMENT ON COLUMN biz.ai_run_logs.reserved_tokens IS 'Reserved from the budget until the run ends';
COMMENT ON COLUMN biz.ai_run_logs.local_day IS 'The site''s day on which the run began; usage and counters belong to this day';
COMMENT ON COLUMN biz.ai_run_logs.attempts IS 'Requests sent to DashScope, including retries';
COMMENT ON COLUMN biz.ai_run_logs.app_id IS 'Id of the DashScope application that the run calls; null in older rows';
COMMENT ON COLUMN biz.ai_run_logs.tokens_charged IS 'Charged to the budget: the reported tokens, and the reservation for each try of unknown usage; null while the run is running and in older rows';
COMMENT ON COLUMN biz.ai_run_logs.refusals IS 'Only for refused runs: number of refusals that this row counts. Those of a user within a minute, or those of a job; finished_at is the last one';
COMMENT ON COLUMN biz.ai_run_logs.prompt_tokens IS 'Estimated tokens of the prompt, part of the reservation; null in older rows';
COMMENT ON COLUMN biz.ai_run_logs.conversation_id IS 'Conversation of the chat or session; null for other runs and in older rows';
COMMENT ON COLUMN biz.ai_run_logs.bot_id IS 'Bot of the chat or session; null for other runs and in older rows';
COMMENT ON COLUMN biz.ai_run_logs.models IS 'Tokens of each model, most tokens first: a list of ModelUsage in Rust; null while the run is running and in older rows';
COMMENT ON COLUMN biz.ai_run_logs.model_costs IS 'Cost of each element of models, in millionths of a yuan; null if the model has no price';
COMMENT ON COLUMN biz.ai_run_logs.model_id IS 'The model that used most tokens';
COMMENT ON COLUMN biz.ai_run_logs.finish_reason IS 'Why DashScope ended the answer, such as stop; null if it did not end';
COMMENT ON COLUMN biz.ai_run_logs.cost IS 'In millionths of a yuan; null if a model has no price or the usage of a try is unknown';
CREATE SEQUENCE biz.ai_run_logs_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE biz.ai_run_logs_id_seq OWNED BY biz.ai_run_logs.id;
CREATE TABLE biz.ai_run_logs_default (
    id bigint DEFAULT nextval('biz.ai_run_logs_id_seq'::regclass) NOT NULL,
    site_id bigint NOT NULL,
    user_id bigint,
    app_type biz.app_type NOT NULL,
    trigger_type biz.run_trigger NOT NULL,
    member_id bigint,
    message_id bigint,
    job_id bigint,
    status biz.run_status NOT NULL,
    alert_status biz.alert_status,
    prompt_version text,
    request_prompt text,
    response_text text,
    tokens_in bigint,
    tokens_out bigint,
    tokens_used bigint,
    tokens_estimated boolean DEFAULT false NOT NULL,
    reserved_tokens bigint DEFAULT 0 NOT NULL,
    local_day date NOT NULL,
    first_token_ms bigint,
    latency_ms bigint,
    attempts integer DEFAULT 0 NOT NULL,
    session_id text,
    upstream_request_id text,
    error_code text,
    error_message text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    finished_at timestamp with time zone,
    app_id text,
    tokens_charged bigint,
    refusals bigint,
    prompt_tokens bigint,
    conversation_id bigint,
    bot_id uuid,
    models jsonb,
    model_costs bigint[],
    model_id text,
    finish_reason text,
    cost bigint
);
COMMENT ON TABLE biz.ai_run_logs_default IS 'Runs of months without a partition; normally empty';
CREATE TABLE biz.ai_trigger_jobs (
    id bigint NOT NULL,
    site_id bigint NOT NULL,
    event_type text NOT NULL,
    connector_type text NOT NULL,
    trigger_type text NOT NULL,
    member_id bigint,
    payload jsonb DEFAULT '{}'::jsonb NOT NULL,
    app_chain text[] NOT NULL,
    step integer DEFAULT 0 NOT NULL,
    is_forced boolean DEFAULT false NOT NULL,
    status text DEFAULT 'pending'::text NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    claims integer DEFAULT 0 NOT NULL,
    run_after timestamp with time zone DEFAULT now() NOT NULL,
    lease_until timestamp with time zone,
    event_id text,
    dedup_key text,
    duplicate_of bigint,
    batch_id uuid,
    retry_of bigint,
    error_code text,
    error_message text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    urgency smallint DEFAULT 0 NOT NULL,
    message_id bigint,
    conversation_id bigint,
    waits_for biz.job_wait,
    waits_on text,
    waits_tokens bigint,
    requested_by bigint,
    cancel_requested_at timestamp with time zone,
    CONSTRAINT ai_trigger_jobs_connector_type_known CHECK ((connector_type = ANY (ARRAY['event_bus'::text, 'admin_api'::text, 'schedule'::text, 'command'::text, 'job'::text, 'session_api'::text, 'batch'::text, 'insights_api'::text]))),
    CONSTRAINT ai_trigger_jobs_event_type_known CHECK ((event_type = ANY (ARRAY['consumption.settled'::text, 'note.created'::text, 'task.assigned'::text, 'etl.finished'::text, 'prewarm'::text, 'chat.session_message'::text, 'batch'::text, 'insight.refresh'::text]))),
    CONSTRAINT ai_trigger_jobs_running_is_leased CHECK (((status = 'running'::text) = (lease_until IS NOT NULL))),
    CONSTRAINT ai_trigger_jobs_status_known CHECK ((status = ANY (ARRAY['pending'::text, 'running'::text, 'succeeded'::text, 'failed'::text, 'skipped_duplicate'::text, 'cancelled'::text]))),
    CONSTRAINT ai_trigger_jobs_step_in_chain CHECK (((step >= 0) AND (step <= cardinality(app_chain)))),
    CONSTRAINT ai_trigger_jobs_trigger_type_known CHECK ((trigger_type = ANY (ARRAY['session'::text, 'event'::text, 'prewarm'::text, 'batch'::text, 'manual'::text])))
)
WITH (fillfactor='70');
COMMENT ON TABLE biz.ai_trigger_jobs IS 'Background jobs: an event and the chain of apps that follows it';
COMMENT ON COLUMN biz.ai_trigger_jobs.connector_type IS 'The way in which the job was requested';
COMMENT ON COLUMN biz.ai_trigger_jobs.trigger_type IS 'The trigger_type of its runs';
COMMENT ON COLUMN biz.ai_trigger_jobs.step IS 'Number of steps of the chain that are done';
COMMENT ON COLUMN biz.ai_trigger_jobs.attempts IS 'Number of tries; a try that only had to wait is not counted';
COMMENT ON COLUMN biz.ai_trigger_jobs.claims IS 'Increased by each claim, so that a worker with an earlier claim cannot write';
COMMENT ON COLUMN biz.ai_trigger_jobs.event_id IS 'Id from the event bus; a repeated delivery has the same id';
COMMENT ON COLUMN biz.ai_trigger_jobs.dedup_key IS 'Business date, event, member and subject';
COMMENT ON COLUMN biz.ai_trigger_jobs.duplicate_of IS 'skipped_duplicate: the job with the same key';
COMMENT ON COLUMN biz.ai_trigger_jobs.urgency IS 'Higher runs first within a site: 1 if a user waits, -1 for a batch, otherwise 0';
COMMENT ON COLUMN biz.ai_trigger_jobs.message_id IS 'chat.session_message: the message that needs a reply';
COMMENT ON COLUMN biz.ai_trigger_jobs.conversation_id IS 'chat.session_message: the conversation; its messages get replies in order';
COMMENT ON COLUMN biz.ai_trigger_jobs.waits_for IS 'pending: why the job must wait until run_after; null if it only waits for a worker';
COMMENT ON COLUMN biz.ai_trigger_jobs.waits_on IS 'waits_for = circuit: the application id of the circuit';
COMMENT ON COLUMN biz.ai_trigger_jobs.waits_tokens IS 'waits_for = budget: the tokens that the budget must have left';
COMMENT ON COLUMN biz.ai_trigger_jobs.requested_by IS 'insight.refresh: the user; not a foreign key, because the row must outlive its user';
COMMENT ON COLUMN biz.ai_trigger_jobs.cancel_requested_at IS 'When an admin cancelled the running job; it ends after its step';
ALTER TABLE biz.ai_trigger_jobs ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME biz.ai_trigger_jobs_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE biz.ai_usage_before (
    site_id bigint NOT NULL,
    day date NOT NULL,
    tokens bigint NOT NULL,
    cost bigint DEFAULT 0 NOT NULL
)
WITH (fillfactor='50');
COMMENT ON TABLE biz.ai_usage_before IS 'Tokens and cost that a site had used of its month at the start of a day, so that they are not added up every minute';
COMMENT ON COLUMN biz.ai_usage_before.tokens IS 'Includes the reservations of runs that had not ended at that time';
COMMENT ON COLUMN biz.ai_usage_before.cost IS 'In millionths of a yuan';
CREATE TABLE biz.ai_usage_daily (
    site_id bigint NOT NULL,
    day date NOT NULL,
    app_type text NOT NULL,
    calls biz.counter DEFAULT 0 NOT NULL,
    successes biz.counter DEFAULT 0 NOT NULL,
    failures biz.counter DEFAULT 0 NOT NULL,
    tokens biz.counter DEFAULT 0 NOT NULL,
    reserved_tokens biz.counter DEFAULT 0 NOT NULL,
    latency_sum_ms bigint DEFAULT 0 NOT NULL,
    latency_histogram biz.latency_histogram DEFAULT array_fill((0)::bigint, ARRAY[16]) NOT NULL,
    last_status text,
    last_call_at timestamp with time zone,
    rest_tokens biz.counter DEFAULT 0 NOT NULL,
    rest_calls biz.counter DEFAULT 0 NOT NULL,
    latency_max_ms bigint DEFAULT 0 NOT NULL,
    latency_buckets biz.latency_buckets DEFAULT '{}'::bigint[] NOT NULL,
    first_token_max_ms bigint DEFAULT 0 NOT NULL,
    first_token_buckets biz.latency_buckets DEFAULT '{}'::bigint[] NOT NULL,
    tokens_in biz.counter DEFAULT 0 NOT NULL,
    tokens_out biz.counter DEFAULT 0 NOT NULL,
    cost biz.counter DEFAULT 0 NOT NULL,
    unpriced_calls biz.counter DEFAULT 0 NOT NULL
)
WITH (fillfactor='50');
COMMENT ON TABLE biz.ai_usage_daily IS 'Counters by site, day and app, updated in the statement that ends a run; the dashboard reads only this table';
COMMENT ON COLUMN biz.ai_usage_daily.day IS 'The site''s local day on which the run began';
COMMENT ON COLUMN biz.ai_usage_daily.tokens IS 'Charged tokens: as reported by DashScope, or the reservation if it reported nothing';
COMMENT ON COLUMN biz.ai_usage_daily.reserved_tokens IS 'Reserved by runs that have not ended';
COMMENT ON COLUMN biz.ai_usage_daily.last_status IS 'Status of the run that ended last';
COMMENT ON COLUMN biz.ai_usage_daily.last_call_at IS 'Start of the run that ended last';
COMMENT ON COLUMN biz.ai_usage_daily.rest_tokens IS 'Tokens of successful calls besides those estimated for their prompts';
COMMENT ON COLUMN biz.ai_usage_daily.rest_calls IS 'Number of calls in rest_tokens';
COMMENT ON COLUMN biz.ai_usage_daily.latency_max_ms IS 'The slowest run. In rows that are older than this column, a lower bound of it';
COMMENT ON COLUMN biz.ai_usage_daily.first_token_max_ms IS 'The longest time to the first token';
COMMENT ON COLUMN biz.ai_usage_daily.first_token_buckets IS 'Of runs that are chats and produced text; empty in rows that are older than this column';
COMMENT ON COLUMN biz.ai_usage_daily.tokens_in IS 'Input tokens that DashScope reported; 0 in rows that are older than this column';
COMMENT ON COLUMN biz.ai_usage_daily.tokens_out IS 'Output tokens that DashScope reported; 0 in rows that are older than this column';
COMMENT ON COLUMN biz.ai_usage_daily.cost IS 'Sum of the known costs, in millionths of a yuan';
COMMENT ON COLUMN biz.ai_usage_daily.unpriced_calls IS 'Calls whose cost is not known';
CREATE TABLE biz.ai_usage_days (
    site_id bigint NOT NULL,
    day date NOT NULL,
    tokens biz.counter NOT NULL,
    cost biz.counter DEFAULT 0 NOT NULL
)
WITH (fillfactor='50');
COMMENT ON TABLE biz.ai_usage_days IS 'Usage of a site''s budgets by day: the sum of biz.ai_usage_daily over all apps';
COMMENT ON COLUMN biz.ai_usage_days.tokens IS 'Charged, or reserved by runs that have not ended';
COMMENT ON COLUMN biz.ai_usage_days.cost IS 'Sum of the known costs, in millionths of a yuan';
CREATE TABLE biz.ai_usage_details (
    site_id bigint NOT NULL,
    day date NOT NULL,
    user_id bigint,
    bot_id uuid,
    model_id text,
    calls biz.counter NOT NULL,
    successes biz.counter NOT NULL,
    failures biz.counter NOT NULL,
    tokens_in biz.counter NOT NULL,
    tokens_out biz.counter NOT NULL,
    tokens biz.counter NOT NULL,
    cost biz.counter NOT NULL,
    unpriced_calls biz.counter NOT NULL
)
WITH (fillfactor='50');
COMMENT ON TABLE biz.ai_usage_details IS 'Counters by site, day, user, bot and model, updated in the statement that ends a run. The sums over users, bots and models are those of ai_usage_daily since this table exists';
COMMENT ON COLUMN biz.ai_usage_details.user_id IS 'Null: runs of jobs; not a foreign key, because the row must outlive its user';
COMMENT ON COLUMN biz.ai_usage_details.bot_id IS 'Null: runs without a bot';
COMMENT ON COLUMN biz.ai_usage_details.model_id IS 'Null: DashScope did not report a model. A run with several models counts as a call of the one that used most tokens';
COMMENT ON COLUMN biz.ai_usage_details.tokens IS 'Charged tokens, as in ai_usage_daily';
COMMENT ON COLUMN biz.ai_usage_details.cost IS 'Sum of the known costs of runs, each split by model, in millionths of a yuan';
CREATE TABLE biz.api_keys (
    id bigint NOT NULL,
    site_id bigint,
    name text NOT NULL,
    scopes biz.api_key_scope[] NOT NULL,
    hash bytea NOT NULL,
    hint text NOT NULL,
    created_by bigint NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    expires_at timestamp with time zone,
    last_used_at timestamp with time zone,
    CONSTRAINT api_keys_hash_long CHECK ((octet_length(hash) = 32)),
    CONSTRAINT api_keys_scopes_given CHECK ((cardinality(scopes) > 0))
);
COMMENT ON TABLE biz.api_keys IS 'Keys of programs, for a few admin routes. A revoked key has no row';
COMMENT ON COLUMN biz.api_keys.site_id IS 'Null: all sites';
COMMENT ON COLUMN biz.api_keys.hash IS 'SHA-256 of the whole key. The key itself is not stored (docs/decisions/0029)';
COMMENT ON COLUMN biz.api_keys.hint IS 'The last 4 characters of the key';
COMMENT ON COLUMN biz.api_keys.created_by IS 'The admin; not a foreign key, because the key may outlive its user';
COMMENT ON COLUMN biz.api_keys.last_used_at IS 'Updated at most once a minute';
ALTER TABLE biz.api_keys ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME biz.api_keys_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE biz.app_types (
    name text NOT NULL,
    comment text NOT NULL
);
COMMENT ON TABLE biz.app_types IS 'The apps: values of app_type and cache_type. Parlor''s code has the same list';
COMMENT ON COLUMN biz.app_types.comment IS 'What the app makes';
CREATE TABLE biz.bot_grants (
    bot_id uuid NOT NULL,
    user_id bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);
COMMENT ON TABLE biz.bot_grants IS 'Users who may use a bot that is not public';
CREATE TABLE biz.bots (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    site_id bigint,
    name text NOT NULL,
    display_name text,
    avatar text,
    status text DEFAULT 'active'::text NOT NULL,
    access text DEFAULT 'public'::text NOT NULL,
    agent_id uuid,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    deleted_at timestamp with time zone,
    CONSTRAINT bots_access_known CHECK ((access = ANY (ARRAY['public'::text, 'granted'::text]))),
    CONSTRAINT bots_status_known CHECK ((status = ANY (ARRAY['active'::text, 'disabled'::text])))
);
COMMENT ON TABLE biz.bots IS 'Bots of the session API';
COMMENT ON COLUMN biz.bots.site_id IS 'Null if the bot is available to all sites';
COMMENT ON COLUMN biz.bots.access IS 'public: all users of its site may use it; granted: only users in bot_grants';
COMMENT ON COLUMN biz.bots.deleted_at IS 'Time of deletion; the row and its conversations remain';
CREATE TABLE biz.function_schemas (
    name text NOT NULL,
    loaded_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT function_schemas_name_known CHECK ((name ~ '^parlor_[0-9a-f]{8}$'::text))
);
COMMENT ON TABLE biz.function_schemas IS 'Schemas of functions, one per deployed build; the sweep drops old ones';
COMMENT ON COLUMN biz.function_schemas.loaded_at IS 'When db-migrate last deployed the build';
CREATE TABLE biz.moderation_words (
    id bigint NOT NULL,
    site_id bigint,
    word text NOT NULL,
    normal text NOT NULL,
    created_by bigint NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT moderation_words_normal_length CHECK (((char_length(normal) >= 1) AND (char_length(normal) <= 64)))
);
COMMENT ON TABLE biz.moderation_words IS 'Words that block a message or a reply that contains them';
COMMENT ON COLUMN biz.moderation_words.site_id IS 'Null: in force at all sites';
COMMENT ON COLUMN biz.moderation_words.normal IS 'The word as texts are compared: NFKC, folded case, no spaces and no punctuation';
COMMENT ON COLUMN biz.moderation_words.created_by IS 'The admin; not a foreign key, because the row must outlive its user';
ALTER TABLE biz.moderation_words ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME biz.moderation_words_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE biz.notification_channels (
    id bigint NOT NULL,
    site_id bigint NOT NULL,
    kind biz.channel_kind NOT NULL,
    name text NOT NULL,
    url text,
    secret text,
    level biz.notification_level NOT NULL,
    hourly_cap integer NOT NULL,
    muted_until timestamp with time zone,
    enabled boolean NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    CONSTRAINT notification_channels_hourly_cap_bounded CHECK (((hourly_cap >= 1) AND (hourly_cap <= 1000)))
);
COMMENT ON TABLE biz.notification_channels IS 'Robots and webhooks that receive the notifications of a site';
COMMENT ON COLUMN biz.notification_channels.url IS 'Address with its token: a secret. Null: nothing is sent';
COMMENT ON COLUMN biz.notification_channels.secret IS 'Key of the signature; null: unsigned';
COMMENT ON COLUMN biz.notification_channels.level IS 'The least urgent level that is sent';
COMMENT ON COLUMN biz.notification_channels.hourly_cap IS 'Most notifications in 60 minutes; those beyond are counted in a summary';
COMMENT ON COLUMN biz.notification_channels.version IS 'Increases with each change by an admin, for ETag';
ALTER TABLE biz.notification_channels ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME biz.notification_channels_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE biz.notification_deliveries (
    id bigint NOT NULL,
    site_id bigint NOT NULL,
    channel_id bigint NOT NULL,
    incident_id bigint,
    event biz.delivery_event NOT NULL,
    held bigint,
    state biz.delivery_state DEFAULT 'pending'::text NOT NULL,
    tries integer DEFAULT 0 NOT NULL,
    next_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    tried_at timestamp with time zone,
    ok boolean,
    detail text,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT notification_deliveries_about_incident CHECK (((incident_id IS NOT NULL) = ((event)::text = ANY (ARRAY['opened'::text, 'recovered'::text])))),
    CONSTRAINT notification_deliveries_summary_counts CHECK (((held IS NOT NULL) = ((event)::text = 'summary'::text)))
);
COMMENT ON TABLE biz.notification_deliveries IS 'Outbox of notifications: one row per channel and message';
COMMENT ON COLUMN biz.notification_deliveries.held IS 'Only for summaries: number of notifications that were not sent';
COMMENT ON COLUMN biz.notification_deliveries.tries IS 'Tries so far. A result is stored only if it names the newest try';
COMMENT ON COLUMN biz.notification_deliveries.next_at IS 'When the next try is due; while a function sends it, the end of its lease';
COMMENT ON COLUMN biz.notification_deliveries.detail IS 'Result of the last try, in Chinese, without anything that the receiver sent';
ALTER TABLE biz.notification_deliveries ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME biz.notification_deliveries_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE biz.notification_incidents (
    id bigint NOT NULL,
    site_id bigint NOT NULL,
    kind biz.incident_kind NOT NULL,
    cause text NOT NULL,
    level biz.notification_level NOT NULL,
    details jsonb NOT NULL,
    began_at timestamp with time zone NOT NULL,
    last_at timestamp with time zone NOT NULL,
    occurrences bigint NOT NULL,
    ended_at timestamp with time zone
);
COMMENT ON TABLE biz.notification_incidents IS 'Causes of notifications: an alert, a circuit, a budget, an overdue report';
COMMENT ON COLUMN biz.notification_incidents.cause IS 'Identifies the cause within site and kind, such as app3_clue/failed/upstream_error';
COMMENT ON COLUMN biz.notification_incidents.details IS 'What the text says, by kind; no prompt, answer or text of a user';
COMMENT ON COLUMN biz.notification_incidents.last_at IS 'When the cause was last observed';
ALTER TABLE biz.notification_incidents ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME biz.notification_incidents_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE biz.openers (
    id bigint NOT NULL,
    site_id bigint,
    source_page text,
    bot_id uuid,
    texts text[] NOT NULL,
    CONSTRAINT openers_one_place CHECK ((num_nonnulls(source_page, bot_id) <= 1)),
    CONSTRAINT openers_source_page_known CHECK ((source_page = ANY (ARRAY['board-finance'::text, 'board-customer'::text, 'board-coach'::text, 'task-detail'::text, 'customer-detail'::text, 'coach-detail'::text, 'performance'::text]))),
    CONSTRAINT openers_texts_few CHECK (((cardinality(texts) >= 1) AND (cardinality(texts) <= 6)))
);
COMMENT ON TABLE biz.openers IS 'Questions with which a user may begin a chat';
COMMENT ON COLUMN biz.openers.site_id IS 'Null: the default of all sites';
COMMENT ON COLUMN biz.openers.source_page IS 'Page of the mini-program; null with bot_id null: a chat from anywhere else';
COMMENT ON COLUMN biz.openers.bot_id IS 'Conversation with this bot';
ALTER TABLE biz.openers ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME biz.openers_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE biz.schedule_runs (
    name text NOT NULL,
    due_at timestamp with time zone NOT NULL,
    finished_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);
COMMENT ON TABLE biz.schedule_runs IS 'The last run of each schedule of the servers; not used on Lambda';
COMMENT ON COLUMN biz.schedule_runs.name IS 'sweep, notify or prewarm';
COMMENT ON COLUMN biz.schedule_runs.due_at IS 'Time for which the last run was due';
CREATE TABLE biz.sites (
    id bigint NOT NULL,
    name text NOT NULL,
    timezone text DEFAULT 'Asia/Shanghai'::text NOT NULL,
    runtime_mode text DEFAULT 'live'::text NOT NULL,
    sandbox_date date,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    runtime_updated_by bigint,
    runtime_updated_at timestamp with time zone,
    CONSTRAINT sites_runtime_mode_known CHECK ((runtime_mode = ANY (ARRAY['live'::text, 'sandbox'::text]))),
    CONSTRAINT sites_sandbox_has_date CHECK (((runtime_mode = 'live'::text) OR (sandbox_date IS NOT NULL))),
    CONSTRAINT sites_timezone_known CHECK (biz.is_timezone(timezone))
);
COMMENT ON TABLE biz.sites IS 'Tenants (门店); each row of business data has the id of its site';
COMMENT ON COLUMN biz.sites.timezone IS 'Time zone of the site''s days, months and opening hours';
COMMENT ON COLUMN biz.sites.runtime_mode IS 'live: the business date is today; sandbox: it is sandbox_date';
COMMENT ON COLUMN biz.sites.sandbox_date IS 'Business date while runtime_mode is sandbox';
COMMENT ON COLUMN biz.sites.runtime_updated_by IS 'Admin who last set the runtime context; null if it was never set';
ALTER TABLE biz.sites ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME biz.sites_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE biz.user_data_deletions (
    id bigint NOT NULL,
    site_id bigint NOT NULL,
    user_id bigint NOT NULL,
    requested_by bigint NOT NULL,
    keep_disabled boolean NOT NULL,
    status_before text NOT NULL,
    requested_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    done_at timestamp with time zone
);
COMMENT ON TABLE biz.user_data_deletions IS 'Requests of admins to delete all texts of a user; the sweep executes them in steps';
COMMENT ON COLUMN biz.user_data_deletions.requested_by IS 'The admin; not a foreign key, because the row must outlive its user';
COMMENT ON COLUMN biz.user_data_deletions.keep_disabled IS 'True if the user remains disabled when everything is deleted';
COMMENT ON COLUMN biz.user_data_deletions.status_before IS 'Status of the user before the request disabled it';
ALTER TABLE biz.user_data_deletions ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME biz.user_data_deletions_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE biz.users (
    id bigint NOT NULL,
    site_id bigint,
    nickname text NOT NULL,
    role text NOT NULL,
    status text DEFAULT 'pending'::text NOT NULL,
    listed_conversations bigint DEFAULT 0 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    listed_sessions bigint DEFAULT 0 NOT NULL,
    openid text,
    CONSTRAINT users_admin_has_no_site CHECK (((role = 'admin'::text) = (site_id IS NULL))),
    CONSTRAINT users_listed_conversations_counted CHECK ((listed_conversations >= 0)),
    CONSTRAINT users_listed_sessions_counted CHECK ((listed_sessions >= 0)),
    CONSTRAINT users_role_known CHECK ((role = ANY (ARRAY['viewer'::text, 'coach'::text, 'staff'::text, 'manager'::text, 'site_admin'::text, 'admin'::text]))),
    CONSTRAINT users_status_known CHECK ((status = ANY (ARRAY['pending'::text, 'approved'::text, 'disabled'::text])))
);
COMMENT ON TABLE biz.users IS 'Staff of one site; a platform admin has no site';
COMMENT ON COLUMN biz.users.status IS 'Only approved users may call the API';
COMMENT ON COLUMN biz.users.listed_conversations IS 'Number of conversations with at least one message: the total of the history list, which therefore does not count rows';
COMMENT ON COLUMN biz.users.listed_sessions IS 'Number of conversations with a bot: the total of the list of sessions, which therefore does not count rows';
COMMENT ON COLUMN biz.users.openid IS 'Id of the user in the mini-program, for the moderation by WeChat; null: not checked there';
ALTER TABLE biz.users ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME biz.users_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE biz.wechat_tokens (
    app_id text NOT NULL,
    access_token text,
    expires_at timestamp with time zone,
    fetching_until timestamp with time zone NOT NULL
);
COMMENT ON TABLE biz.wechat_tokens IS 'Access tokens of the WeChat API, shared by all function instances';
COMMENT ON COLUMN biz.wechat_tokens.expires_at IS 'A minute before WeChat rejects the token';
COMMENT ON COLUMN biz.wechat_tokens.fetching_until IS 'Until then, one instance fetches a token, and the others wait for it';
CREATE TABLE dws.coach_daily (
    site_id bigint NOT NULL,
    coach_id bigint NOT NULL,
    coach_name text NOT NULL,
    business_date date NOT NULL,
    lessons integer DEFAULT 0 NOT NULL,
    lesson_minutes integer DEFAULT 0 NOT NULL,
    members integer DEFAULT 0 NOT NULL,
    revenue numeric(12,2) DEFAULT 0 NOT NULL
);
COMMENT ON TABLE dws.coach_daily IS 'Work and revenue of a coach on a business date';
COMMENT ON COLUMN dws.coach_daily.coach_id IS 'The coach''s user id';
CREATE TABLE dws.coach_task (
    site_id bigint NOT NULL,
    task_id bigint NOT NULL,
    coach_id bigint NOT NULL,
    coach_name text NOT NULL,
    member_id bigint,
    title text NOT NULL,
    detail text DEFAULT ''::text NOT NULL,
    status text NOT NULL,
    assigned_on date NOT NULL,
    due_on date NOT NULL,
    done_on date
);
COMMENT ON TABLE dws.coach_task IS 'Tasks of coaches, most of them about a member';
COMMENT ON COLUMN dws.coach_task.status IS 'open or done';
CREATE TABLE dws.finance_area_daily (
    site_id bigint NOT NULL,
    business_date date NOT NULL,
    area text NOT NULL,
    revenue numeric(12,2) DEFAULT 0 NOT NULL,
    orders integer DEFAULT 0 NOT NULL,
    table_minutes integer DEFAULT 0 NOT NULL,
    member_orders integer DEFAULT 0 NOT NULL,
    new_members integer DEFAULT 0 NOT NULL,
    recharged numeric(12,2) DEFAULT 0 NOT NULL
);
COMMENT ON TABLE dws.finance_area_daily IS 'Revenue and counters of an area of a site on a business date, in yuan';
COMMENT ON COLUMN dws.finance_area_daily.member_orders IS 'Orders of members; the other orders are walk-ins';
COMMENT ON COLUMN dws.finance_area_daily.recharged IS 'Paid into stored-value cards; not part of the revenue';
CREATE TABLE dws.member_consumption (
    site_id bigint NOT NULL,
    order_id bigint NOT NULL,
    member_id bigint NOT NULL,
    business_date date NOT NULL,
    paid_at timestamp with time zone NOT NULL,
    area text NOT NULL,
    item text NOT NULL,
    minutes integer DEFAULT 0 NOT NULL,
    amount numeric(10,2) NOT NULL,
    coach_id bigint
);
COMMENT ON TABLE dws.member_consumption IS 'Paid orders of members, in yuan';
COMMENT ON COLUMN dws.member_consumption.coach_id IS 'User id of the coach who took part, if any';
CREATE TABLE dws.member_note (
    site_id bigint NOT NULL,
    note_id bigint NOT NULL,
    member_id bigint NOT NULL,
    author_id bigint NOT NULL,
    author_name text NOT NULL,
    written_at timestamp with time zone NOT NULL,
    content text NOT NULL
);
COMMENT ON TABLE dws.member_note IS 'Notes of staff about a member';
CREATE TABLE dws.member_profile (
    site_id bigint NOT NULL,
    member_id bigint NOT NULL,
    name text NOT NULL,
    level text NOT NULL,
    joined_on date NOT NULL,
    birthday text,
    balance numeric(12,2) DEFAULT 0 NOT NULL,
    coach_id bigint,
    favourite_area text,
    favourite_time text
);
COMMENT ON TABLE dws.member_profile IS 'Members of a site';
COMMENT ON COLUMN dws.member_profile.birthday IS 'MM-DD';
COMMENT ON COLUMN dws.member_profile.balance IS 'Balance of the stored-value card, in yuan';
COMMENT ON COLUMN dws.member_profile.coach_id IS 'User id of the coach who is responsible for the member';
ALTER TABLE ONLY biz.ai_run_logs ATTACH PARTITION biz.ai_run_logs_default DEFAULT;
ALTER TABLE ONLY biz.ai_run_logs ALTER COLUMN id SET DEFAULT nextval('biz.ai_run_logs_id_seq'::regclass);
ALTER TABLE ONLY biz.agents
    ADD CONSTRAINT agents_pkey PRIMARY KEY (id);
ALTER TABLE ONLY biz.ai_admin_audit
    ADD CONSTRAINT ai_admin_audit_pkey PRIMARY KEY (id);
ALTER TABLE ONLY biz.ai_app_calls
    ADD CONSTRAINT ai_app_calls_pkey PRIMARY KEY (app_id);
ALTER TABLE ONLY biz.ai_apps
    ADD CONSTRAINT ai_apps_pkey PRIMARY KEY (id);
ALTER TABLE ONLY biz.ai_apps
    ADD CONSTRAINT ai_apps_site_id_app_type_key UNIQUE NULLS NOT DISTINCT (site_id, app_type);
ALTER TABLE ONLY biz.ai_batches
    ADD CONSTRAINT ai_batches_pkey PRIMARY KEY (id);
ALTER TABLE ONLY biz.ai_budgets
    ADD CONSTRAINT ai_budgets_pkey PRIMARY KEY (id);
ALTER TABLE ONLY biz.ai_budgets
    ADD CONSTRAINT ai_budgets_site_id_key UNIQUE NULLS NOT DISTINCT (site_id);
ALTER TABLE ONLY biz.ai_cache
    ADD CONSTRAINT ai_cache_pkey PRIMARY KEY (id);
ALTER TABLE ONLY biz.ai_cache_sizes
    ADD CONSTRAINT ai_cache_sizes_pkey PRIMARY KEY (site_id, cache_type);
ALTER TABLE ONLY biz.ai_circuits
    ADD CONSTRAINT ai_circuits_pkey PRIMARY KEY (app_id);
ALTER TABLE ONLY biz.ai_conversations
    ADD CONSTRAINT ai_conversations_pkey PRIMARY KEY (id);
ALTER TABLE ONLY biz.ai_conversations
    ADD CONSTRAINT ai_conversations_public_id_key UNIQUE (public_id);
ALTER TABLE ONLY biz.ai_feedback
    ADD CONSTRAINT ai_feedback_pkey PRIMARY KEY (id);
ALTER TABLE ONLY biz.ai_feedback
    ADD CONSTRAINT ai_feedback_subject_key UNIQUE (user_id, subject_type, subject_id);
ALTER TABLE ONLY biz.ai_idempotency_keys
    ADD CONSTRAINT ai_idempotency_keys_pkey PRIMARY KEY (conversation_id, key);
ALTER TABLE ONLY biz.ai_job_turns
    ADD CONSTRAINT ai_job_turns_pkey PRIMARY KEY (site_id);
ALTER TABLE ONLY biz.ai_messages
    ADD CONSTRAINT ai_messages_pkey PRIMARY KEY (id);
ALTER TABLE ONLY biz.ai_messages
    ADD CONSTRAINT ai_messages_seq_key UNIQUE (conversation_id, seq);
ALTER TABLE ONLY biz.ai_notices
    ADD CONSTRAINT ai_notices_pkey PRIMARY KEY (site_id);
ALTER TABLE ONLY biz.ai_prices
    ADD CONSTRAINT ai_prices_pkey PRIMARY KEY (model, valid_from);
ALTER TABLE ONLY biz.ai_quotas
    ADD CONSTRAINT ai_quotas_pkey PRIMARY KEY (site_id, subject_type, subject_id);
ALTER TABLE ONLY biz.ai_refusals
    ADD CONSTRAINT ai_refusals_pkey PRIMARY KEY (user_id, reason, app_id);
ALTER TABLE ONLY biz.ai_reply_readers
    ADD CONSTRAINT ai_reply_readers_pkey PRIMARY KEY (id);
ALTER TABLE ONLY biz.ai_reply_segments
    ADD CONSTRAINT ai_reply_segments_pkey PRIMARY KEY (message_id, from_char);
ALTER TABLE ONLY biz.ai_reports
    ADD CONSTRAINT ai_reports_pkey PRIMARY KEY (id);
ALTER TABLE ONLY biz.ai_result_failures
    ADD CONSTRAINT ai_result_failures_pkey PRIMARY KEY (site_id, cache_type, target_id);
ALTER TABLE ONLY biz.ai_run_logs
    ADD CONSTRAINT ai_run_logs_pkey PRIMARY KEY (id, created_at);
ALTER TABLE ONLY biz.ai_run_logs_default
    ADD CONSTRAINT ai_run_logs_default_pkey PRIMARY KEY (id, created_at);
ALTER TABLE ONLY biz.ai_trigger_jobs
    ADD CONSTRAINT ai_trigger_jobs_pkey PRIMARY KEY (id);
ALTER TABLE ONLY biz.ai_usage_before
    ADD CONSTRAINT ai_usage_before_pkey PRIMARY KEY (site_id);
ALTER TABLE ONLY biz.ai_usage_daily
    ADD CONSTRAINT ai_usage_daily_pkey PRIMARY KEY (site_id, day, app_type);
ALTER TABLE ONLY biz.ai_usage_days
    ADD CONSTRAINT ai_usage_days_pkey PRIMARY KEY (site_id, day);
ALTER TABLE ONLY biz.ai_usage_details
    ADD CONSTRAINT ai_usage_details_key UNIQUE NULLS NOT DISTINCT (site_id, day, user_id, bot_id, model_id);
ALTER TABLE ONLY biz.api_keys
    ADD CONSTRAINT api_keys_hash_key UNIQUE (hash);
ALTER TABLE ONLY biz.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (id);
ALTER TABLE ONLY biz.app_types
    ADD CONSTRAINT app_types_pkey PRIMARY KEY (name);
ALTER TABLE ONLY biz.bot_grants
    ADD CONSTRAINT bot_grants_pkey PRIMARY KEY (bot_id, user_id);
ALTER TABLE ONLY biz.bots
    ADD CONSTRAINT bots_pkey PRIMARY KEY (id);
ALTER TABLE ONLY biz.function_schemas
    ADD CONSTRAINT function_schemas_pkey PRIMARY KEY (name);
ALTER TABLE ONLY biz.moderation_words
    ADD CONSTRAINT moderation_words_normal_key UNIQUE NULLS NOT DISTINCT (normal, site_id);
ALTER TABLE ONLY biz.moderation_words
    ADD CONSTRAINT moderation_words_pkey PRIMARY KEY (id);
ALTER TABLE ONLY biz.notification_channels
    ADD CONSTRAINT notification_channels_pkey PRIMARY KEY (id);
ALTER TABLE ONLY biz.notification_deliveries
    ADD CONSTRAINT notification_deliveries_pkey PRIMARY KEY (id);
ALTER TABLE ONLY biz.notification_incidents
    ADD CONSTRAINT notification_incidents_pkey PRIMARY KEY (id);
ALTER TABLE ONLY biz.openers
    ADD CONSTRAINT openers_pkey PRIMARY KEY (id);
ALTER TABLE ONLY biz.openers
    ADD CONSTRAINT openers_place_key UNIQUE NULLS NOT DISTINCT (source_page, bot_id, site_id);
ALTER TABLE ONLY biz.schedule_runs
    ADD CONSTRAINT schedule_runs_pkey PRIMARY KEY (name);
ALTER TABLE ONLY biz.sites
    ADD CONSTRAINT sites_pkey PRIMARY KEY (id);
ALTER TABLE ONLY biz.user_data_deletions
    ADD CONSTRAINT user_data_deletions_pkey PRIMARY KEY (id);
ALTER TABLE ONLY biz.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);
ALTER TABLE ONLY biz.wechat_tokens
    ADD CONSTRAINT wechat_tokens_pkey PRIMARY KEY (app_id);
ALTER TABLE ONLY dws.coach_daily
    ADD CONSTRAINT coach_daily_pkey PRIMARY KEY (site_id, coach_id, business_date);
ALTER TABLE ONLY dws.coach_task
    ADD CONSTRAINT coach_task_pkey PRIMARY KEY (site_id, task_id);
ALTER TABLE ONLY dws.finance_area_daily
    ADD CONSTRAINT finance_area_daily_pkey PRIMARY KEY (site_id, business_date, area);
ALTER TABLE ONLY dws.member_consumption
    ADD CONSTRAINT member_consumption_pkey PRIMARY KEY (site_id, order_id);
ALTER TABLE ONLY dws.member_note
    ADD CONSTRAINT member_note_pkey PRIMARY KEY (site_id, note_id);
ALTER TABLE ONLY dws.member_profile
    ADD CONSTRAINT member_profile_pkey PRIMARY KEY (site_id, member_id);
CREATE INDEX ai_admin_audit_all_sites_idx ON biz.ai_admin_audit USING btree (created_at DESC, id DESC) WHERE (site_id IS NULL);
CREATE INDEX ai_admin_audit_created_idx ON biz.ai_admin_audit USING btree (created_at DESC, id DESC);
CREATE INDEX ai_admin_audit_site_idx ON biz.ai_admin_audit USING btree (site_id, created_at DESC, id DESC);
CREATE INDEX ai_batches_site_idx ON biz.ai_batches USING btree (site_id, created_at DESC, id DESC);
CREATE INDEX ai_batches_unconfirmed_idx ON biz.ai_batches USING btree (expires_at) WHERE (confirmed_at IS NULL);
CREATE INDEX ai_cache_expiry_idx ON biz.ai_cache USING btree (expires_at) WHERE (status = 'valid'::text);
CREATE UNIQUE INDEX ai_cache_generating_key ON biz.ai_cache USING btree (site_id, cache_type, target_id) WHERE (status = 'generating'::text);
CREATE INDEX ai_cache_job_idx ON biz.ai_cache USING btree (job_id) WHERE (status = 'generating'::text);
CREATE INDEX ai_cache_kind_idx ON biz.ai_cache USING btree (site_id, cache_type, status, id DESC);
CREATE INDEX ai_cache_lease_idx ON biz.ai_cache USING btree (lease_until) WHERE (status = 'generating'::text);
CREATE INDEX ai_cache_member_idx ON biz.ai_cache USING btree (site_id, member_id, cache_type) WHERE (status = 'valid'::text);
CREATE INDEX ai_cache_newest_idx ON biz.ai_cache USING btree (site_id, cache_type, id);
CREATE INDEX ai_cache_run_idx ON biz.ai_cache USING btree (run_id) WHERE (run_id IS NOT NULL);
CREATE INDEX ai_cache_sizes_full_idx ON biz.ai_cache_sizes USING btree (entries) WHERE (entries > 20000);
CREATE INDEX ai_cache_target_idx ON biz.ai_cache USING btree (site_id, cache_type, target_id, id DESC);
CREATE UNIQUE INDEX ai_cache_valid_key ON biz.ai_cache USING btree (site_id, cache_type, target_id) WHERE (status = 'valid'::text);
CREATE UNIQUE INDEX ai_conversations_board_key ON biz.ai_conversations USING btree (site_id, user_id, context_id, business_date) WHERE ((context_type)::text = 'board'::text);
CREATE INDEX ai_conversations_context_idx ON biz.ai_conversations USING btree (site_id, user_id, context_type, context_id, last_active_at DESC);
CREATE INDEX ai_conversations_empty_idx ON biz.ai_conversations USING btree (last_active_at) WHERE ((message_count)::bigint = 0);
CREATE INDEX ai_conversations_empty_of_user_idx ON biz.ai_conversations USING btree (site_id, user_id, last_active_at DESC) WHERE ((message_count)::bigint = 0);
CREATE INDEX ai_conversations_listed_idx ON biz.ai_conversations USING btree (site_id, user_id, pinned DESC, last_active_at DESC, id DESC) WHERE ((message_count)::bigint > 0);
CREATE INDEX ai_conversations_sessions_idx ON biz.ai_conversations USING btree (site_id, user_id, last_active_at DESC, id DESC) INCLUDE (status, bot_id) WHERE (bot_id IS NOT NULL);
CREATE UNIQUE INDEX ai_conversations_task_key ON biz.ai_conversations USING btree (site_id, user_id, context_id) WHERE ((context_type)::text = 'task'::text);
CREATE INDEX ai_feedback_list_idx ON biz.ai_feedback USING btree (site_id, created_at DESC, id DESC) INCLUDE (app_type, prompt_version, rating, user_id);
CREATE INDEX ai_idempotency_keys_created_idx ON biz.ai_idempotency_keys USING btree (created_at);
CREATE INDEX ai_idempotency_keys_message_idx ON biz.ai_idempotency_keys USING btree (message_id);
CREATE UNIQUE INDEX ai_messages_client_message_id_key ON biz.ai_messages USING btree (conversation_id, client_message_id) WHERE (client_message_id IS NOT NULL);
CREATE INDEX ai_messages_rate_idx ON biz.ai_messages USING btree (user_id, created_at) WHERE ((role)::text = 'user'::text);
CREATE INDEX ai_messages_reply_idx ON biz.ai_messages USING btree (reply_to) WHERE ((role)::text = 'assistant'::text);
CREATE INDEX ai_messages_streaming_idx ON biz.ai_messages USING btree (user_id) WHERE ((state)::text = 'streaming'::text);
CREATE INDEX ai_messages_user_idx ON biz.ai_messages USING btree (user_id, id DESC);
CREATE INDEX ai_reply_readers_user_idx ON biz.ai_reply_readers USING btree (user_id);
CREATE INDEX ai_reports_open_idx ON biz.ai_reports USING btree (site_id, due_at) WHERE (resolved_at IS NULL);
CREATE INDEX ai_reports_site_idx ON biz.ai_reports USING btree (site_id, created_at DESC, id DESC);
CREATE INDEX ai_reports_user_idx ON biz.ai_reports USING btree (user_id, created_at DESC, id DESC);
CREATE INDEX ai_run_logs_alerts_idx ON ONLY biz.ai_run_logs USING btree (site_id, created_at DESC, id DESC) WHERE (alert_status IS NOT NULL);
CREATE INDEX ai_run_logs_bot_idx ON ONLY biz.ai_run_logs USING btree (site_id, bot_id, created_at DESC NULLS LAST, id DESC NULLS LAST) WHERE (bot_id IS NOT NULL);
CREATE INDEX ai_run_logs_causes_idx ON ONLY biz.ai_run_logs USING btree (site_id, app_type, alert_status, created_at DESC, id DESC) INCLUDE (status, error_code) WHERE (alert_status IS NOT NULL);
CREATE INDEX ai_run_logs_conversation_idx ON ONLY biz.ai_run_logs USING btree (conversation_id, created_at DESC) WHERE (conversation_id IS NOT NULL);
CREATE INDEX ai_run_logs_default_conversation_id_created_at_idx ON biz.ai_run_logs_default USING btree (conversation_id, created_at DESC) WHERE (conversation_id IS NOT NULL);
CREATE INDEX ai_run_logs_running_idx ON ONLY biz.ai_run_logs USING btree (created_at) WHERE ((status)::text = 'running'::text);
CREATE INDEX ai_run_logs_default_created_at_idx ON biz.ai_run_logs_default USING btree (created_at) WHERE ((status)::text = 'running'::text);
CREATE INDEX ai_run_logs_job_idx ON ONLY biz.ai_run_logs USING btree (job_id, created_at, id) WHERE (job_id IS NOT NULL);
CREATE INDEX ai_run_logs_default_job_id_created_at_id_idx ON biz.ai_run_logs_default USING btree (job_id, created_at, id) WHERE (job_id IS NOT NULL);
CREATE INDEX ai_run_logs_default_site_id_app_type_alert_status_created_a_idx ON biz.ai_run_logs_default USING btree (site_id, app_type, alert_status, created_at DESC, id DESC) INCLUDE (status, error_code) WHERE (alert_status IS NOT NULL);
CREATE INDEX ai_run_logs_filter_idx ON ONLY biz.ai_run_logs USING btree (site_id, app_type, status, trigger_type, created_at DESC, id DESC);
CREATE INDEX ai_run_logs_default_site_id_app_type_status_trigger_type_cr_idx ON biz.ai_run_logs_default USING btree (site_id, app_type, status, trigger_type, created_at DESC, id DESC);
CREATE INDEX ai_run_logs_default_site_id_bot_id_created_at_id_idx ON biz.ai_run_logs_default USING btree (site_id, bot_id, created_at DESC NULLS LAST, id DESC NULLS LAST) WHERE (bot_id IS NOT NULL);
CREATE INDEX ai_run_logs_site_idx ON ONLY biz.ai_run_logs USING btree (site_id, created_at DESC, id DESC);
CREATE INDEX ai_run_logs_default_site_id_created_at_id_idx ON biz.ai_run_logs_default USING btree (site_id, created_at DESC, id DESC);
CREATE INDEX ai_run_logs_default_site_id_created_at_id_idx1 ON biz.ai_run_logs_default USING btree (site_id, created_at DESC, id DESC) WHERE (alert_status IS NOT NULL);
CREATE INDEX ai_run_logs_error_idx ON ONLY biz.ai_run_logs USING btree (site_id, error_code, created_at DESC NULLS LAST, id DESC NULLS LAST) WHERE (error_code IS NOT NULL);
CREATE INDEX ai_run_logs_default_site_id_error_code_created_at_id_idx ON biz.ai_run_logs_default USING btree (site_id, error_code, created_at DESC NULLS LAST, id DESC NULLS LAST) WHERE (error_code IS NOT NULL);
CREATE INDEX ai_run_logs_member_idx ON ONLY biz.ai_run_logs USING btree (site_id, member_id, created_at DESC NULLS LAST, id DESC NULLS LAST) WHERE (member_id IS NOT NULL);
CREATE INDEX ai_run_logs_default_site_id_member_id_created_at_id_idx ON biz.ai_run_logs_default USING btree (site_id, member_id, created_at DESC NULLS LAST, id DESC NULLS LAST) WHERE (member_id IS NOT NULL);
CREATE INDEX ai_run_logs_model_idx ON ONLY biz.ai_run_logs USING btree (site_id, model_id, created_at DESC NULLS LAST, id DESC NULLS LAST) WHERE (model_id IS NOT NULL);
CREATE INDEX ai_run_logs_default_site_id_model_id_created_at_id_idx ON biz.ai_run_logs_default USING btree (site_id, model_id, created_at DESC NULLS LAST, id DESC NULLS LAST) WHERE (model_id IS NOT NULL);
CREATE INDEX ai_run_logs_user_idx ON ONLY biz.ai_run_logs USING btree (site_id, user_id, created_at DESC NULLS LAST, id DESC NULLS LAST) WHERE (user_id IS NOT NULL);
CREATE INDEX ai_run_logs_default_site_id_user_id_created_at_id_idx ON biz.ai_run_logs_default USING btree (site_id, user_id, created_at DESC NULLS LAST, id DESC NULLS LAST) WHERE (user_id IS NOT NULL);
CREATE INDEX ai_trigger_jobs_conversation_idx ON biz.ai_trigger_jobs USING btree (conversation_id, message_id) WHERE ((conversation_id IS NOT NULL) AND (status = ANY (ARRAY['pending'::text, 'running'::text])));
CREATE UNIQUE INDEX ai_trigger_jobs_dedup_key ON biz.ai_trigger_jobs USING btree (site_id, dedup_key) WHERE ((NOT is_forced) AND ((status = ANY (ARRAY['pending'::text, 'running'::text])) OR ((status = 'succeeded'::text) AND (event_type <> ALL (ARRAY['prewarm'::text, 'insight.refresh'::text])))));
CREATE INDEX ai_trigger_jobs_due_idx ON biz.ai_trigger_jobs USING btree (site_id, urgency DESC, run_after, id) WHERE (status = 'pending'::text);
CREATE UNIQUE INDEX ai_trigger_jobs_event_id_key ON biz.ai_trigger_jobs USING btree (site_id, event_id);
CREATE INDEX ai_trigger_jobs_kind_idx ON biz.ai_trigger_jobs USING btree (site_id, event_type, status, created_at DESC, id DESC);
CREATE INDEX ai_trigger_jobs_lease_idx ON biz.ai_trigger_jobs USING btree (lease_until) WHERE (status = 'running'::text);
CREATE INDEX ai_trigger_jobs_of_batch_idx ON biz.ai_trigger_jobs USING btree (batch_id, status, created_at DESC, id DESC) WHERE (batch_id IS NOT NULL);
CREATE INDEX ai_trigger_jobs_requested_idx ON biz.ai_trigger_jobs USING btree (requested_by, created_at) WHERE (requested_by IS NOT NULL);
CREATE INDEX ai_trigger_jobs_retry_of_idx ON biz.ai_trigger_jobs USING btree (retry_of) WHERE (retry_of IS NOT NULL);
CREATE INDEX ai_trigger_jobs_site_idx ON biz.ai_trigger_jobs USING btree (site_id, created_at DESC, id DESC);
CREATE INDEX ai_trigger_jobs_skipped_idx ON biz.ai_trigger_jobs USING btree (created_at, site_id) WHERE (status = 'skipped_duplicate'::text);
CREATE INDEX ai_trigger_jobs_waiting_idx ON biz.ai_trigger_jobs USING btree (waits_for, site_id, id) WHERE ((status = 'pending'::text) AND (waits_for IS NOT NULL));
CREATE INDEX ai_usage_daily_app_idx ON biz.ai_usage_daily USING btree (site_id, app_type, day DESC);
CREATE INDEX ai_usage_details_bot_idx ON biz.ai_usage_details USING btree (site_id, bot_id, day) WHERE (bot_id IS NOT NULL);
CREATE INDEX api_keys_site_idx ON biz.api_keys USING btree (site_id, id DESC);
CREATE INDEX bots_site_id_idx ON biz.bots USING btree (site_id);
CREATE INDEX moderation_words_list_idx ON biz.moderation_words USING btree (COALESCE(site_id, (0)::bigint), created_at DESC, id DESC);
CREATE INDEX notification_channels_site_idx ON biz.notification_channels USING btree (site_id, id);
CREATE INDEX notification_deliveries_created_idx ON biz.notification_deliveries USING btree (created_at);
CREATE INDEX notification_deliveries_due_idx ON biz.notification_deliveries USING btree (channel_id, next_at) WHERE ((state)::text = 'pending'::text);
CREATE INDEX notification_deliveries_held_idx ON biz.notification_deliveries USING btree (channel_id) WHERE ((state)::text = 'held'::text);
CREATE UNIQUE INDEX notification_deliveries_incident_key ON biz.notification_deliveries USING btree (incident_id, channel_id, event) WHERE (incident_id IS NOT NULL);
CREATE UNIQUE INDEX notification_deliveries_test_key ON biz.notification_deliveries USING btree (channel_id) WHERE (((event)::text = 'test'::text) AND ((state)::text = 'pending'::text));
CREATE INDEX notification_deliveries_tried_idx ON biz.notification_deliveries USING btree (channel_id, tried_at DESC);
CREATE INDEX notification_incidents_cause_idx ON biz.notification_incidents USING btree (site_id, kind, cause, last_at DESC);
CREATE INDEX notification_incidents_ended_idx ON biz.notification_incidents USING btree (ended_at) WHERE (ended_at IS NOT NULL);
CREATE UNIQUE INDEX notification_incidents_open_key ON biz.notification_incidents USING btree (site_id, kind, cause) WHERE (ended_at IS NULL);
CREATE UNIQUE INDEX user_data_deletions_open_key ON biz.user_data_deletions USING btree (user_id) WHERE (done_at IS NULL);
CREATE INDEX users_site_id_idx ON biz.users USING btree (site_id);
CREATE INDEX coach_daily_date_idx ON dws.coach_daily USING btree (site_id, business_date);
CREATE INDEX coach_task_coach_idx ON dws.coach_task USING btree (site_id, coach_id, assigned_on DESC);
CREATE INDEX coach_task_member_idx ON dws.coach_task USING btree (site_id, member_id);
CREATE INDEX member_consumption_date_idx ON dws.member_consumption USING btree (site_id, business_date);
CREATE INDEX member_consumption_member_idx ON dws.member_consumption USING btree (site_id, member_id, paid_at DESC);
CREATE INDEX member_note_member_idx ON dws.member_note USING btree (site_id, member_id, written_at DESC);
ALTER INDEX biz.ai_run_logs_conversation_idx ATTACH PARTITION biz.ai_run_logs_default_conversation_id_created_at_idx;
ALTER INDEX biz.ai_run_logs_running_idx ATTACH PARTITION biz.ai_run_logs_default_created_at_idx;
ALTER INDEX biz.ai_run_logs_job_idx ATTACH PARTITION biz.ai_run_logs_default_job_id_created_at_id_idx;
ALTER INDEX biz.ai_run_logs_pkey ATTACH PARTITION biz.ai_run_logs_default_pkey;
ALTER INDEX biz.ai_run_logs_causes_idx ATTACH PARTITION biz.ai_run_logs_default_site_id_app_type_alert_status_created_a_idx;
ALTER INDEX biz.ai_run_logs_filter_idx ATTACH PARTITION biz.ai_run_logs_default_site_id_app_type_status_trigger_type_cr_idx;
ALTER INDEX biz.ai_run_logs_bot_idx ATTACH PARTITION biz.ai_run_logs_default_site_id_bot_id_created_at_id_idx;
ALTER INDEX biz.ai_run_logs_site_idx ATTACH PARTITION biz.ai_run_logs_default_site_id_created_at_id_idx;
ALTER INDEX biz.ai_run_logs_alerts_idx ATTACH PARTITION biz.ai_run_logs_default_site_id_created_at_id_idx1;
ALTER INDEX biz.ai_run_logs_error_idx ATTACH PARTITION biz.ai_run_logs_default_site_id_error_code_created_at_id_idx;
ALTER INDEX biz.ai_run_logs_member_idx ATTACH PARTITION biz.ai_run_logs_default_site_id_member_id_created_at_id_idx;
ALTER INDEX biz.ai_run_logs_model_idx ATTACH PARTITION biz.ai_run_logs_default_site_id_model_id_created_at_id_idx;
ALTER INDEX biz.ai_run_logs_user_idx ATTACH PARTITION biz.ai_run_logs_default_site_id_user_id_created_at_id_idx;
CREATE TRIGGER count_deleted AFTER DELETE ON biz.ai_cache REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION biz.count_cache_entries();
CREATE TRIGGER count_inserted AFTER INSERT ON biz.ai_cache REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION biz.count_cache_entries();
ALTER TABLE ONLY biz.ai_admin_audit
    ADD CONSTRAINT ai_admin_audit_site_id_fkey FOREIGN KEY (site_id) REFERENCES biz.sites(id);
ALTER TABLE ONLY biz.ai_apps
    ADD CONSTRAINT ai_apps_app_type_fkey FOREIGN KEY (app_type) REFERENCES biz.app_types(name);
ALTER TABLE ONLY biz.ai_apps
    ADD CONSTRAINT ai_apps_site_id_fkey FOREIGN KEY (site_id) REFERENCES biz.sites(id);
ALTER TABLE ONLY biz.ai_batches
    ADD CONSTRAINT ai_batches_site_id_fkey FOREIGN KEY (site_id) REFERENCES biz.sites(id);
ALTER TABLE ONLY biz.ai_budgets
    ADD CONSTRAINT ai_budgets_site_id_fkey FOREIGN KEY (site_id) REFERENCES biz.sites(id);
ALTER TABLE ONLY biz.ai_cache
    ADD CONSTRAINT ai_cache_cache_type_fkey FOREIGN KEY (cache_type) REFERENCES biz.app_types(name);
ALTER TABLE ONLY biz.ai_cache
    ADD CONSTRAINT ai_cache_site_id_fkey FOREIGN KEY (site_id) REFERENCES biz.sites(id);
ALTER TABLE ONLY biz.ai_cache_sizes
    ADD CONSTRAINT ai_cache_sizes_site_id_fkey FOREIGN KEY (site_id) REFERENCES biz.sites(id);
ALTER TABLE ONLY biz.ai_conversations
    ADD CONSTRAINT ai_conversations_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES biz.agents(id);
ALTER TABLE ONLY biz.ai_conversations
    ADD CONSTRAINT ai_conversations_bot_id_fkey FOREIGN KEY (bot_id) REFERENCES biz.bots(id);
ALTER TABLE ONLY biz.ai_conversations
    ADD CONSTRAINT ai_conversations_site_id_fkey FOREIGN KEY (site_id) REFERENCES biz.sites(id);
ALTER TABLE ONLY biz.ai_conversations
    ADD CONSTRAINT ai_conversations_user_id_fkey FOREIGN KEY (user_id) REFERENCES biz.users(id);
ALTER TABLE ONLY biz.ai_feedback
    ADD CONSTRAINT ai_feedback_site_id_fkey FOREIGN KEY (site_id) REFERENCES biz.sites(id);
ALTER TABLE ONLY biz.ai_feedback
    ADD CONSTRAINT ai_feedback_user_id_fkey FOREIGN KEY (user_id) REFERENCES biz.users(id);
ALTER TABLE ONLY biz.ai_idempotency_keys
    ADD CONSTRAINT ai_idempotency_keys_conversation_id_fkey FOREIGN KEY (conversation_id) REFERENCES biz.ai_conversations(id);
ALTER TABLE ONLY biz.ai_idempotency_keys
    ADD CONSTRAINT ai_idempotency_keys_message_id_fkey FOREIGN KEY (message_id) REFERENCES biz.ai_messages(id);
ALTER TABLE ONLY biz.ai_job_turns
    ADD CONSTRAINT ai_job_turns_site_id_fkey FOREIGN KEY (site_id) REFERENCES biz.sites(id);
ALTER TABLE ONLY biz.ai_messages
    ADD CONSTRAINT ai_messages_conversation_id_fkey FOREIGN KEY (conversation_id) REFERENCES biz.ai_conversations(id);
ALTER TABLE ONLY biz.ai_notices
    ADD CONSTRAINT ai_notices_site_id_fkey FOREIGN KEY (site_id) REFERENCES biz.sites(id);
ALTER TABLE ONLY biz.ai_quotas
    ADD CONSTRAINT ai_quotas_site_id_fkey FOREIGN KEY (site_id) REFERENCES biz.sites(id);
ALTER TABLE ONLY biz.ai_refusals
    ADD CONSTRAINT ai_refusals_user_id_fkey FOREIGN KEY (user_id) REFERENCES biz.users(id);
ALTER TABLE ONLY biz.ai_reply_readers
    ADD CONSTRAINT ai_reply_readers_user_id_fkey FOREIGN KEY (user_id) REFERENCES biz.users(id);
ALTER TABLE ONLY biz.ai_reports
    ADD CONSTRAINT ai_reports_site_id_fkey FOREIGN KEY (site_id) REFERENCES biz.sites(id);
ALTER TABLE ONLY biz.ai_reports
    ADD CONSTRAINT ai_reports_user_id_fkey FOREIGN KEY (user_id) REFERENCES biz.users(id);
ALTER TABLE ONLY biz.ai_result_failures
    ADD CONSTRAINT ai_result_failures_site_id_fkey FOREIGN KEY (site_id) REFERENCES biz.sites(id);
ALTER TABLE ONLY biz.ai_trigger_jobs
    ADD CONSTRAINT ai_trigger_jobs_batch_id_fkey FOREIGN KEY (batch_id) REFERENCES biz.ai_batches(id);
ALTER TABLE ONLY biz.ai_trigger_jobs
    ADD CONSTRAINT ai_trigger_jobs_retry_of_fkey FOREIGN KEY (retry_of) REFERENCES biz.ai_trigger_jobs(id);
ALTER TABLE ONLY biz.ai_trigger_jobs
    ADD CONSTRAINT ai_trigger_jobs_site_id_fkey FOREIGN KEY (site_id) REFERENCES biz.sites(id);
ALTER TABLE ONLY biz.ai_usage_before
    ADD CONSTRAINT ai_usage_before_site_id_fkey FOREIGN KEY (site_id) REFERENCES biz.sites(id);
ALTER TABLE ONLY biz.ai_usage_daily
    ADD CONSTRAINT ai_usage_daily_site_id_fkey FOREIGN KEY (site_id) REFERENCES biz.sites(id);
ALTER TABLE ONLY biz.ai_usage_days
    ADD CONSTRAINT ai_usage_days_site_id_fkey FOREIGN KEY (site_id) REFERENCES biz.sites(id);
ALTER TABLE ONLY biz.ai_usage_details
    ADD CONSTRAINT ai_usage_details_site_id_fkey FOREIGN KEY (site_id) REFERENCES biz.sites(id);
ALTER TABLE ONLY biz.api_keys
    ADD CONSTRAINT api_keys_site_id_fkey FOREIGN KEY (site_id) REFERENCES biz.sites(id);
ALTER TABLE ONLY biz.bot_grants
    ADD CONSTRAINT bot_grants_bot_id_fkey FOREIGN KEY (bot_id) REFERENCES biz.bots(id);
ALTER TABLE ONLY biz.bot_grants
    ADD CONSTRAINT bot_grants_user_id_fkey FOREIGN KEY (user_id) REFERENCES biz.users(id);
ALTER TABLE ONLY biz.bots
    ADD CONSTRAINT bots_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES biz.agents(id);
ALTER TABLE ONLY biz.bots
    ADD CONSTRAINT bots_site_id_fkey FOREIGN KEY (site_id) REFERENCES biz.sites(id);
ALTER TABLE ONLY biz.moderation_words
    ADD CONSTRAINT moderation_words_site_id_fkey FOREIGN KEY (site_id) REFERENCES biz.sites(id);
ALTER TABLE ONLY biz.notification_channels
    ADD CONSTRAINT notification_channels_site_id_fkey FOREIGN KEY (site_id) REFERENCES biz.sites(id);
ALTER TABLE ONLY biz.notification_deliveries
    ADD CONSTRAINT notification_deliveries_channel_id_fkey FOREIGN KEY (channel_id) REFERENCES biz.notification_channels(id) ON DELETE CASCADE;
ALTER TABLE ONLY biz.notification_deliveries
    ADD CONSTRAINT notification_deliveries_incident_id_fkey FOREIGN KEY (incident_id) REFERENCES biz.notification_incidents(id) ON DELETE CASCADE;
ALTER TABLE ONLY biz.notification_deliveries
    ADD CONSTRAINT notification_deliveries_site_id_fkey FOREIGN KEY (site_id) REFERENCES biz.sites(id);
ALTER TABLE ONLY biz.notification_incidents
    ADD CONSTRAINT notification_incidents_site_id_fkey FOREIGN KEY (site_id) REFERENCES biz.sites(id);
ALTER TABLE ONLY biz.openers
    ADD CONSTRAINT openers_bot_id_fkey FOREIGN KEY (bot_id) REFERENCES biz.bots(id);
ALTER TABLE ONLY biz.openers
    ADD CONSTRAINT openers_site_id_fkey FOREIGN KEY (site_id) REFERENCES biz.sites(id);
ALTER TABLE ONLY biz.user_data_deletions
    ADD CONSTRAINT user_data_deletions_site_id_fkey FOREIGN KEY (site_id) REFERENCES biz.sites(id);
ALTER TABLE ONLY biz.user_data_deletions
    ADD CONSTRAINT user_data_deletions_user_id_fkey FOREIGN KEY (user_id) REFERENCES biz.users(id);
ALTER TABLE ONLY biz.users
    ADD CONSTRAINT users_site_id_fkey FOREIGN KEY (site_id) REFERENCES biz.sites(id);
