create function rate_retry_at(p_site bigint, p_user bigint, p_rate_per_minute integer)
returns timestamptz language plpgsql as $$
declare
    v_since timestamptz;
    v_refusals bigint;
    v_refusals_until timestamptz;
    v_left bigint;
begin
    -- The lock makes sure that concurrent sends count each other.
    perform 1 from biz.users where id = p_user and site_id = p_site for no key update;
    if p_rate_per_minute = 0 then return null; end if;
    -- A variable, because a volatile expression cannot be an index condition.
    v_since := clock_timestamp() - interval '1 minute';
    -- A refusal counts like a message, until a minute after the first one in its row.
    select coalesce(sum(f.refusals), 0), min(f.run_at) + interval '1 minute'
    into v_refusals, v_refusals_until
    from biz.ai_refusals f
    where f.user_id = p_user and f.site_id = p_site and f.run_at > v_since;
    v_left := p_rate_per_minute - v_refusals;
    if v_left <= 0 then return v_refusals_until; end if;
    -- Reads the message v_left messages ago.
    return (
        select least(a.created_at + interval '1 minute', v_refusals_until) from biz.ai_messages a
        where a.user_id = p_user and a.site_id = p_site and a.role = 'user'
          and a.created_at > v_since
        order by a.created_at desc offset v_left - 1 limit 1);
end $$;

comment on function rate_retry_at is
    'Locks the user. Returns null if the user may send a message now, else the time of the next '
    'one. 0 messages per minute is no limit';
