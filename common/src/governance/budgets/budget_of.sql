create type budget_state as (
    daily_used bigint,
    daily_limit bigint,
    monthly_used bigint,
    monthly_limit bigint,
    updated_by bigint,
    updated_at timestamptz
);

comment on type budget_state is
    'Tokens used, reservations of running calls included, and the limits. Who set the limits, and '
    'when. The limits are null if the site does not exist';

create function budget_of(p_site bigint) returns budget_state language plpgsql stable as $$
declare
    v_today date := local_day(zone_of(p_site));
    v_budget budget_state;
begin
    with used as (
        select coalesce(sum(u.tokens) filter (where u.day = v_today), 0)::bigint as daily,
               coalesce(sum(u.tokens), 0)::bigint as monthly
        from biz.sites s
        join biz.ai_usage_days u
            on u.site_id = s.id and u.day between date_trunc('month', v_today)::date and v_today
        where p_site is null or s.id = p_site
    ), limits as (
        select sum(b.daily_limit)::bigint as daily, sum(b.monthly_limit)::bigint as monthly,
               case when p_site is not null then max(b.updated_by) end as updated_by,
               case when p_site is not null
                    then max(b.updated_at) filter (where b.site_id is not null) end as updated_at
        from biz.sites s
        cross join lateral (
            select * from biz.ai_budgets b where b.site_id = s.id or b.site_id is null
            order by b.site_id nulls last limit 1
        ) b
        where p_site is null or s.id = p_site
    )
    select used.daily, limits.daily, used.monthly, limits.monthly,
           limits.updated_by, limits.updated_at
    into v_budget
    from used, limits;
    return v_budget;
end $$;

comment on function budget_of is
    'The budget of a site today. Null means all sites together, by the day in Shanghai';
