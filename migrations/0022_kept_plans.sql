-- PostgreSQL before 18 plans the body of an SQL function that it cannot inline for every statement that calls it: up to a
-- millisecond each. PL/pgSQL keeps its plans for as long as the connection lasts. What these functions say is unchanged.

create or replace function biz.site_today(p_site bigint) returns date language plpgsql stable parallel safe as $$
begin
    return (select biz.business_date(s.runtime_mode, s.sandbox_date, s.timezone) from biz.sites s where s.id = p_site);
end $$;

create or replace function biz.zone_of(p_site bigint) returns text language plpgsql stable as $$
begin
    return coalesce((select s.timezone from biz.sites s where s.id = p_site), 'Asia/Shanghai');
end $$;

create or replace function biz.date_range(
    p_site bigint, p_from_day date, p_from timestamptz, p_to_day date, p_to timestamptz,
    out began_at timestamptz, out ended_at timestamptz
) language plpgsql stable as $$
declare
    v_zone text := biz.zone_of(p_site);
begin
    began_at := coalesce(p_from, p_from_day::timestamp at time zone v_zone, '-infinity');
    ended_at := coalesce(p_to + interval '1 microsecond', (p_to_day + 1)::timestamp at time zone v_zone, 'infinity');
end $$;

create or replace function biz.period_days(p_period text, p_today date, out first_day date, out last_day date)
language plpgsql immutable parallel safe as $$
declare
    v_named daterange := case p_period
        when 'today' then daterange(p_today, p_today, '[]')
        when 'yesterday' then daterange(p_today - 1, p_today - 1, '[]')
        when 'this_week' then daterange(date_trunc('week', p_today)::date, p_today, '[]')
        when 'last_week' then daterange(date_trunc('week', p_today)::date - 7, date_trunc('week', p_today)::date - 1, '[]')
        when 'this_month' then daterange(date_trunc('month', p_today)::date, p_today, '[]')
        when 'last_month' then daterange((date_trunc('month', p_today) - interval '1 month')::date, date_trunc('month', p_today)::date - 1, '[]')
        when 'last_3_months' then daterange((date_trunc('month', p_today) - interval '3 months')::date, date_trunc('month', p_today)::date - 1, '[]')
        when 'last_6_months' then daterange((date_trunc('month', p_today) - interval '6 months')::date, date_trunc('month', p_today)::date - 1, '[]')
    end;
begin
    first_day := coalesce(lower(v_named), 'infinity');
    last_day := coalesce(upper(v_named) - 1, '-infinity');
end $$;

create or replace function biz.bot_access(b biz.bots, p_site bigint, p_user bigint) returns text language plpgsql stable as $$
begin
    return case
        when b.id is null or (b.site_id is not null and b.site_id <> p_site) then 'unknown'
        when b.status <> 'active' then 'forbidden'
        when b.access = 'public' or exists (select from biz.bot_grants g where g.bot_id = b.id and g.user_id = p_user) then 'allowed'
        else 'forbidden'
    end;
end $$;

create or replace function biz.budget_of(p_site bigint) returns biz.budget_state language plpgsql stable as $$
declare
    v_today date := biz.local_day(biz.zone_of(p_site));
    v_budget biz.budget_state;
begin
    with used as (
        select coalesce(sum(u.tokens + u.reserved_tokens) filter (where u.day = v_today), 0)::bigint as daily,
               coalesce(sum(u.tokens + u.reserved_tokens), 0)::bigint as monthly
        from biz.sites s
        join biz.ai_usage_daily u on u.site_id = s.id and u.day between date_trunc('month', v_today)::date and v_today
        where p_site is null or s.id = p_site
    ), limits as (
        select sum(b.daily_limit)::bigint as daily, sum(b.monthly_limit)::bigint as monthly,
               case when p_site is not null then max(b.updated_by) end as updated_by,
               case when p_site is not null then max(b.updated_at) filter (where b.site_id is not null) end as updated_at
        from biz.sites s
        cross join lateral (
            select * from biz.ai_budgets b where b.site_id = s.id or b.site_id is null order by b.site_id nulls last limit 1
        ) b
        where p_site is null or s.id = p_site
    )
    select used.daily, limits.daily, used.monthly, limits.monthly, limits.updated_by, limits.updated_at
    into v_budget
    from used, limits;
    return v_budget;
end $$;

create or replace function biz.tokens_left(p_site bigint) returns bigint language plpgsql stable as $$
declare
    b biz.budget_state := biz.budget_of(p_site);
begin
    return greatest(0, least(b.daily_limit - b.daily_used, b.monthly_limit - b.monthly_used));
end $$;

-- The newest alerts of a site, however they stand: the dashboard's.
create index ai_run_logs_alerts_idx on biz.ai_run_logs (site_id, created_at desc, id desc) where alert_status is not null;
