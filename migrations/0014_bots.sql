-- Whom the session API talks to: a bot is what people see, its agent the DashScope application behind it.
create table biz.agents (
    id uuid not null default gen_random_uuid() constraint agents_pkey primary key,
    name text not null,
    app_id text not null,
    deleted_at timestamptz,
    created_at timestamptz not null default now(),
    constraint agents_app_id_given check (app_id <> '')
);
comment on table biz.agents is 'DashScope applications behind bots';
comment on column biz.agents.app_id is 'Application id in the console';
comment on column biz.agents.deleted_at is 'Gone since then: what was said with it stays';

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
comment on table biz.bots is 'What people talk to';
comment on column biz.bots.site_id is 'Null: of all sites';
comment on column biz.bots.access is 'public: everybody of its site; granted: who is in bot_grants';

create table biz.bot_grants (
    bot_id uuid not null constraint bot_grants_bot_id_fkey references biz.bots (id),
    user_id bigint not null constraint bot_grants_user_id_fkey references biz.users (id),
    created_at timestamptz not null default now(),
    constraint bot_grants_pkey primary key (bot_id, user_id)
);
comment on table biz.bot_grants is 'Who may use a bot that is not public';

-- Whether a user may use a bot, and why not. Another site's bot does not exist.
create function biz.bot_access(b biz.bots, p_site bigint, p_user bigint) returns text language sql stable as $$
    select case
        when b.id is null or (b.site_id is not null and b.site_id <> p_site) then 'unknown'
        when b.status <> 'active' then 'forbidden'
        when b.access = 'public' or exists (select from biz.bot_grants g where g.bot_id = b.id and g.user_id = p_user) then 'allowed'
        else 'forbidden'
    end
$$;
comment on function biz.bot_access is 'allowed, forbidden, or unknown to the user''s site';

-- A conversation with a bot has its id, and the agent that it began with.
alter table biz.ai_conversations add column bot_id uuid;
alter table biz.ai_conversations add column agent_id uuid;
alter table biz.ai_conversations add column read_seq bigint not null default 0;
alter table biz.ai_conversations add constraint ai_conversations_bot_id_fkey foreign key (bot_id) references biz.bots (id) not valid;
alter table biz.ai_conversations validate constraint ai_conversations_bot_id_fkey;
alter table biz.ai_conversations add constraint ai_conversations_agent_id_fkey foreign key (agent_id) references biz.agents (id) not valid;
alter table biz.ai_conversations validate constraint ai_conversations_agent_id_fkey;
alter table biz.ai_conversations add constraint ai_conversations_bot_has_id check ((context_type = 'bot') = (bot_id is not null)) not valid;
alter table biz.ai_conversations validate constraint ai_conversations_bot_has_id;
create index ai_conversations_sessions_idx on biz.ai_conversations (site_id, user_id, last_active_at desc, id desc) where bot_id is not null;
comment on column biz.ai_conversations.bot_id is 'Whom it is with, where the session API knows it';
comment on column biz.ai_conversations.agent_id is 'The bot''s agent when it was made';
comment on column biz.ai_conversations.read_seq is 'What the other side has said up to this sequence number is read; unread_count counts the rest';

-- What is read is told by the conversation: no row is written for it.
alter table biz.ai_messages drop column read_at;
alter table biz.ai_messages add column content_type text not null default 'markdown';
alter table biz.ai_messages add constraint ai_messages_content_type_known check (content_type in ('markdown', 'text')) not valid;
alter table biz.ai_messages validate constraint ai_messages_content_type_known;
comment on column biz.ai_messages.content_type is 'How it is to be shown: markdown or text';
