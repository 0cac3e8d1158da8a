-- As before, and counted.
create function create_session(p_site bigint, p_user bigint, p_bot uuid, p_title text) returns opened_session
language plpgsql as $$
declare
    r opened_session;
    b biz.bots;
begin
    select * into b from biz.bots where id = p_bot;
    case bot_access(b, p_site, p_user)
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

comment on function create_session is 'A new conversation with a bot, if the user may use it and it has an agent';
