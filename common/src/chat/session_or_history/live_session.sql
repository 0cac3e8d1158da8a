create type history_limits as (
    session_seconds double precision,
    session_rounds integer,
    history_turns integer
);

comment on type history_limits is
    'How long a DashScope session is used, for how many rounds, and how many turns are sent '
    'without one; from HistoryLimits in Rust';

create function live_session(
    p_session text,
    p_used_at timestamptz,
    p_rounds integer,
    p_limits history_limits
) returns text language sql stable as $$
    -- One expression of stable functions, so that PostgreSQL inlines it.
    select case
        when p_rounds < (p_limits).session_rounds
         and p_used_at > statement_timestamp() - make_interval(secs => (p_limits).session_seconds)
            then p_session
    end
$$;

comment on function live_session is 'The id of a session that DashScope still has; else null';
