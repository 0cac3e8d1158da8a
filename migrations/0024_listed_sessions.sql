-- The total of somebody's sessions is kept with the user, as that of conversations is: of 2,000 sessions, counting them was a
-- third of the list. Only a list by status or bot still counts.

-- Whoever makes one meanwhile waits until it is counted here. First of all, for who makes one looks at the users afterwards.
lock table biz.ai_conversations in share row exclusive mode;

alter table biz.users add column listed_sessions bigint not null default 0
    constraint users_listed_sessions_counted check (listed_sessions >= 0);
comment on column biz.users.listed_sessions is 'Conversations with a bot: the total of the list of sessions, so that it is never counted';

update biz.users u set listed_sessions = s.sessions
from (select c.user_id, c.site_id, count(*) as sessions from biz.ai_conversations c where c.bot_id is not null group by c.user_id, c.site_id) s
where u.id = s.user_id and u.site_id = s.site_id;

-- As before, and counted.
create or replace function biz.create_session(p_site bigint, p_user bigint, p_bot uuid, p_title text) returns biz.opened_session
language plpgsql as $$
declare
    r biz.opened_session;
    b biz.bots;
begin
    select * into b from biz.bots where id = p_bot;
    case biz.bot_access(b, p_site, p_user)
        when 'unknown' then r.outcome := 'bot_unknown'; return r;
        when 'forbidden' then r.outcome := 'bot_forbidden'; return r;
        else
    end case;
    if b.agent_id is null then r.outcome := 'no_agent'; return r; end if;
    if not exists (select from biz.agents a where a.id = b.agent_id and a.deleted_at is null) then
        r.outcome := 'agent_gone';
        return r;
    end if;
    insert into biz.ai_conversations (site_id, user_id, context_type, context_id, channel_type, title, bot_id, agent_id, last_active_at)
    values (p_site, p_user, 'bot', b.id::text, 'api', coalesce(p_title, 'Chat with ' || coalesce(b.display_name, b.name)),
            b.id, b.agent_id, clock_timestamp())
    returning public_id into r.session_id;
    update biz.users set listed_sessions = listed_sessions + 1 where id = p_user and site_id = p_site;
    r.outcome := 'created';
    return r;
end $$;
