create type budget_room as (
    at timestamptz,
    day date,
    retry_at timestamptz
);

comment on type budget_room is
    'When the budget was read, the site''s day at that time, and when to retry. retry_at is null '
    'if the budget has room';

-- retry_at is the start of the site's next day or month, in its time zone, depending on the limit
-- that was reached. The lock on the site lets concurrent calls see each other's reservations:
-- in a volatile function, each statement after the lock takes a new snapshot. The cost of a call is
-- known only when it ends. So a limit of cost refuses calls once it is reached, and running calls
-- may exceed it.
create function budget_room(p_site bigint, p_reserve bigint) returns budget_room
language plpgsql as $$
declare
    r budget_room;
    v_zone text;
    b biz.ai_budgets;
begin
    select s.timezone into v_zone from biz.sites s where s.id = p_site for no key update;
    r.at := clock_timestamp();
    select * into b from biz.ai_budgets where site_id = p_site;
    if not found then
        select * into b from biz.ai_budgets where site_id is null;
    end if;
    r.day := (r.at at time zone v_zone)::date;
    select case
        when used.month + p_reserve > b.monthly_limit or used.month_cost >= b.monthly_cost_limit
            then (date_trunc('month', r.day::timestamp) + interval '1 month') at time zone v_zone
        when used.day + p_reserve > b.daily_limit or used.day_cost >= b.daily_cost_limit
            then (r.day + 1)::timestamp at time zone v_zone
        end
    into r.retry_at
    from (
        select coalesce(sum(u.tokens), 0)::bigint as month,
               coalesce(sum(u.tokens) filter (where u.day = r.day), 0)::bigint as day,
               coalesce(sum(u.cost), 0)::bigint as month_cost,
               coalesce(sum(u.cost) filter (where u.day = r.day), 0)::bigint as day_cost
        from biz.ai_usage_days u
        where u.site_id = p_site and u.day <= r.day
          and u.day >= date_trunc('month', r.day::timestamp)::date
    ) used;
    return r;
end $$;

comment on function budget_room is
    'Locks the site and checks whether its budget has room for p_reserve tokens and its limit of '
    'cost is not reached. If not, returns when to retry';
