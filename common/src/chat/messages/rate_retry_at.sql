create function rate_retry_at(p_site bigint, p_user bigint, p_rate_per_minute integer)
returns timestamptz language plpgsql as $$
declare
    v_since timestamptz;
begin
    -- The lock makes sure that concurrent sends count each other.
    perform 1 from biz.users where id = p_user and site_id = p_site for no key update;
    -- A variable, because a volatile expression cannot be an index condition.
    v_since := clock_timestamp() - interval '1 minute';
    -- Reads the message p_rate_per_minute messages ago. A rate of 0 means no limit.
    return (
        select a.created_at + interval '1 minute' from biz.ai_messages a
        where a.user_id = p_user and a.site_id = p_site and a.role = 'user'
          and a.created_at > v_since
        order by a.created_at desc
        offset greatest(p_rate_per_minute, 1) - 1 limit least(p_rate_per_minute, 1));
end $$;

comment on function rate_retry_at is
    'Locks the user. Returns null if the user may send a message now, else the time of the next one';
