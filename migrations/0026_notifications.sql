-- Notifications to chat robots and webhooks: channels, incidents and deliveries.

create domain biz.channel_kind as text
    constraint channel_kind_known check (value in ('wecom', 'dingtalk', 'feishu', 'webhook'));
comment on domain biz.channel_kind is 'The service that receives notifications';

create domain biz.notification_level as text
    constraint notification_level_known check (value in ('info', 'warning', 'critical'));
comment on domain biz.notification_level is 'How urgent a notification is';

create domain biz.incident_kind as text
    constraint incident_kind_known check (value in ('alert', 'circuit', 'budget', 'report'));
comment on domain biz.incident_kind is 'What a notification is about';

create domain biz.delivery_event as text
    constraint delivery_event_known check (value in ('opened', 'recovered', 'summary', 'test'));
comment on domain biz.delivery_event is 'What a delivery says';

create domain biz.delivery_state as text
    constraint delivery_state_known
    check (value in ('pending', 'held', 'summarised', 'sent', 'failed'));
comment on domain biz.delivery_state is
    'held: over the hourly cap, or muted; summarised: counted in a summary; failed: given up';

create table biz.notification_channels (
    id bigint generated always as identity constraint notification_channels_pkey primary key,
    site_id bigint not null constraint notification_channels_site_id_fkey references biz.sites (id),
    kind biz.channel_kind not null,
    name text not null,
    url text,
    secret text,
    level biz.notification_level not null,
    hourly_cap integer not null,
    muted_until timestamptz,
    enabled boolean not null,
    version bigint not null default 1,
    constraint notification_channels_hourly_cap_bounded check (hourly_cap between 1 and 1000)
);
create index notification_channels_site_idx on biz.notification_channels (site_id, id);
comment on table biz.notification_channels is
    'Robots and webhooks that receive the notifications of a site';
comment on column biz.notification_channels.url is
    'Address with its token: a secret. Null: nothing is sent';
comment on column biz.notification_channels.secret is 'Key of the signature; null: unsigned';
comment on column biz.notification_channels.level is 'The least urgent level that is sent';
comment on column biz.notification_channels.hourly_cap is
    'Most notifications in 60 minutes; those beyond are counted in a summary';
comment on column biz.notification_channels.version is
    'Increases with each change by an admin, for ETag';

create table biz.notification_incidents (
    id bigint generated always as identity constraint notification_incidents_pkey primary key,
    site_id bigint not null
        constraint notification_incidents_site_id_fkey references biz.sites (id),
    kind biz.incident_kind not null,
    cause text not null,
    level biz.notification_level not null,
    details jsonb not null,
    began_at timestamptz not null,
    last_at timestamptz not null,
    occurrences bigint not null,
    ended_at timestamptz
);
-- Makes a cause one incident, however many functions find it at the same time.
create unique index notification_incidents_open_key
    on biz.notification_incidents (site_id, kind, cause) where ended_at is null;
-- Finds the last incident of a cause, so that old failures do not open another one.
create index notification_incidents_cause_idx
    on biz.notification_incidents (site_id, kind, cause, last_at desc);
create index notification_incidents_ended_idx
    on biz.notification_incidents (ended_at) where ended_at is not null;
comment on table biz.notification_incidents is
    'Causes of notifications: an alert, a circuit, a budget, an overdue report';
comment on column biz.notification_incidents.cause is
    'Identifies the cause within site and kind, such as app3_clue/failed/upstream_error';
comment on column biz.notification_incidents.details is
    'What the text says, by kind; no prompt, answer or text of a user';
comment on column biz.notification_incidents.last_at is 'When the cause was last observed';

create table biz.notification_deliveries (
    id bigint generated always as identity constraint notification_deliveries_pkey primary key,
    site_id bigint not null
        constraint notification_deliveries_site_id_fkey references biz.sites (id),
    channel_id bigint not null
        constraint notification_deliveries_channel_id_fkey
        references biz.notification_channels (id) on delete cascade,
    incident_id bigint
        constraint notification_deliveries_incident_id_fkey
        references biz.notification_incidents (id) on delete cascade,
    event biz.delivery_event not null,
    held bigint,
    state biz.delivery_state not null default 'pending',
    tries integer not null default 0,
    next_at timestamptz not null default clock_timestamp(),
    tried_at timestamptz,
    ok boolean,
    detail text,
    created_at timestamptz not null default clock_timestamp(),
    constraint notification_deliveries_about_incident
        check ((incident_id is not null) = (event in ('opened', 'recovered'))),
    constraint notification_deliveries_summary_counts check ((held is not null) = (event = 'summary'))
);
-- One message per channel and event of an incident.
create unique index notification_deliveries_incident_key
    on biz.notification_deliveries (incident_id, channel_id, event) where incident_id is not null;
-- A repeated test request finds the one that waits.
create unique index notification_deliveries_test_key
    on biz.notification_deliveries (channel_id) where event = 'test' and state = 'pending';
create index notification_deliveries_due_idx
    on biz.notification_deliveries (channel_id, next_at) where state = 'pending';
create index notification_deliveries_held_idx
    on biz.notification_deliveries (channel_id) where state = 'held';
create index notification_deliveries_tried_idx
    on biz.notification_deliveries (channel_id, tried_at desc);
create index notification_deliveries_created_idx on biz.notification_deliveries (created_at);
comment on table biz.notification_deliveries is
    'Outbox of notifications: one row per channel and message';
comment on column biz.notification_deliveries.held is
    'Only for summaries: number of notifications that were not sent';
comment on column biz.notification_deliveries.tries is
    'Tries so far. A result is stored only if it names the newest try';
comment on column biz.notification_deliveries.next_at is
    'When the next try is due; while a function sends it, the end of its lease';
comment on column biz.notification_deliveries.detail is
    'Result of the last try, in Chinese, without anything that the receiver sent';
