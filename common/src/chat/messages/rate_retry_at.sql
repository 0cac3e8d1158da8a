create function rate_retry_at(p_site bigint, p_user bigint, p_rate_per_minute integer) returns timestamptz language plpgsql as $$
declare
    v_now timestamptz;
begin
    -- Under a lock, so that two sends at once are counted as two.
    perform 1 from biz.users where id = p_user and site_id = p_site for no key update;
    v_now := clock_timestamp();
    return (
        select max(t.created_at) filter (where t.place = p_rate_per_minute) + interval '1 minute'
        from (
            select a.created_at, row_number() over (order by a.created_at desc) as place
            from biz.ai_messages a
            where a.user_id = p_user and a.site_id = p_site and a.role = 'user' and a.created_at > v_now - interval '1 minute'
            order by a.created_at desc limit p_rate_per_minute
        ) t);
end $$;

comment on function rate_retry_at is 'Locks the user; null where a message may be sent, else when the next may';
