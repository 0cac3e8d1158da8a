create function rate_retry_at(p_site bigint, p_user bigint, p_rate_per_minute integer)
returns timestamptz language plpgsql as $$
declare
    v_since timestamptz;
begin
    -- Under a lock, so that two sends at once are counted as two.
    perform 1 from biz.users where id = p_user and site_id = p_site for no key update;
    -- A variable, for what is volatile is no condition of an index.
    v_since := clock_timestamp() - interval '1 minute';
    -- As many messages ago as may be sent in a minute; 0 is no limit.
    return (
        select a.created_at + interval '1 minute' from biz.ai_messages a
        where a.user_id = p_user and a.site_id = p_site and a.role = 'user'
          and a.created_at > v_since
        order by a.created_at desc
        offset greatest(p_rate_per_minute, 1) - 1 limit least(p_rate_per_minute, 1));
end $$;

comment on function rate_retry_at is
    'Locks the user; null where a message may be sent, else when the next may';
