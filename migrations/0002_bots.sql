-- Bots of the session API, and the DashScope applications (agents) behind them.
create table biz.agents (
    id uuid not null default gen_random_uuid() constraint agents_pkey primary key,
    name text not null,
    app_id text not null,
    deleted_at timestamptz,
    created_at timestamptz not null default now(),
    constraint agents_app_id_given check (app_id <> '')
);
comment on table biz.agents is 'DashScope applications of bots';
comment on column biz.agents.app_id is 'Application id in the DashScope console';
comment on column biz.agents.deleted_at is 'Time of deletion; the row and its conversations remain';

create table biz.bots (
    id uuid not null default gen_random_uuid() constraint bots_pkey primary key,
    site_id bigint constraint bots_site_id_fkey references biz.sites (id),
    name text not null,
    display_name text,
    avatar text,
    status text not null default 'active',
    access text not null default 'public',
    agent_id uuid constraint bots_agent_id_fkey references biz.agents (id),
    created_at timestamptz not null default now(),
    constraint bots_status_known check (status in ('active', 'disabled')),
    constraint bots_access_known check (access in ('public', 'granted'))
);
create index bots_site_id_idx on biz.bots (site_id);
comment on table biz.bots is 'Bots of the session API';
comment on column biz.bots.site_id is 'Null if the bot is available to all sites';
comment on column biz.bots.access is
    'public: all users of its site may use it; granted: only users in bot_grants';

create table biz.bot_grants (
    bot_id uuid not null constraint bot_grants_bot_id_fkey references biz.bots (id),
    user_id bigint not null constraint bot_grants_user_id_fkey references biz.users (id),
    created_at timestamptz not null default now(),
    constraint bot_grants_pkey primary key (bot_id, user_id)
);
comment on table biz.bot_grants is 'Users who may use a bot that is not public';
