-- When the limit in the way is lifted: the site's next day or month, in its zone. Null where there is room.
-- Under the site's lock, so that two who ask at once see each other's reservation.
create function budget_retry_at(p_site bigint, p_reserve bigint) returns timestamptz language plpgsql as $$
declare
    b biz.ai_budgets;
    v_zone text;
    v_today date;
    v_day_used bigint;
    v_month_used bigint;
begin
    select s.timezone into v_zone from biz.sites s where s.id = p_site for no key update;
    v_today := local_day(v_zone, clock_timestamp());
    select * into b from biz.ai_budgets where site_id = p_site or site_id is null order by site_id nulls last limit 1;
    select coalesce(sum(u.tokens + u.reserved_tokens) filter (where u.day = v_today), 0),
           coalesce(sum(u.tokens + u.reserved_tokens), 0)
    into v_day_used, v_month_used
    from biz.ai_usage_daily u
    where u.site_id = p_site and u.day >= date_trunc('month', v_today)::date and u.day <= v_today;
    return case
        when v_month_used + p_reserve > b.monthly_limit
            then (date_trunc('month', v_today::timestamp) + interval '1 month') at time zone v_zone
        when v_day_used + p_reserve > b.daily_limit then (v_today + 1)::timestamp at time zone v_zone
    end;
end $$;

comment on function budget_retry_at is
    'Locks the site; null where its budget has room for so many tokens, else when it may have';
