create type opened_session as (
    outcome text,
    session_id uuid
);

comment on type opened_session is 'created with its public id; else bot_unknown, bot_forbidden, no_agent or agent_gone';
