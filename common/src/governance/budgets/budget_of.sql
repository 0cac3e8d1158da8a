create type budget_state as (
    daily_used bigint,
    daily_limit bigint,
    monthly_used bigint,
    monthly_limit bigint,
    daily_cost bigint,
    daily_cost_limit bigint,
    monthly_cost bigint,
    monthly_cost_limit bigint,
    daily_cap bigint,
    monthly_cap bigint,
    updated_by bigint,
    updated_at timestamptz
);

comment on type budget_state is
    'Tokens used, reservations of running calls included, and the limits. Costs of ended calls, in '
    'millionths of a yuan, and their limits, null if there are none. Who set the limits, and when. '
    'The limits of tokens are null if the site does not exist';

create function budget_of(p_site bigint) returns budget_state language plpgsql stable as $$
declare
    v_today date := local_day(zone_of(p_site));
    v_budget budget_state;
begin
    with used as (
        select coalesce(sum(u.tokens) filter (where u.day = v_today), 0)::bigint as daily,
               coalesce(sum(u.tokens), 0)::bigint as monthly,
               coalesce(sum(u.cost) filter (where u.day = v_today), 0)::bigint as daily_cost,
               coalesce(sum(u.cost), 0)::bigint as monthly_cost
        from biz.sites s
        join biz.ai_usage_days u
            on u.site_id = s.id and u.day between date_trunc('month', v_today)::date and v_today
        where p_site is null or s.id = p_site
    ), limits as (
        select sum(b.daily_limit)::bigint as daily, sum(b.monthly_limit)::bigint as monthly,
               -- All sites together have a limit if each site has one.
               case when count(*) = count(b.daily_cost_limit)
                    then sum(b.daily_cost_limit)::bigint end as daily_cost,
               case when count(*) = count(b.monthly_cost_limit)
                    then sum(b.monthly_cost_limit)::bigint end as monthly_cost,
               case when p_site is not null then max(b.daily_cap) end as daily_cap,
               case when p_site is not null then max(b.monthly_cap) end as monthly_cap,
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
           used.daily_cost, limits.daily_cost, used.monthly_cost, limits.monthly_cost,
           limits.daily_cap, limits.monthly_cap,
           limits.updated_by, limits.updated_at
    into v_budget
    from used, limits;
    return v_budget;
end $$;

comment on function budget_of is
    'The budget of a site today. Null means all sites together, by the day in Shanghai';
