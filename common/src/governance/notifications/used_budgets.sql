create function used_budgets() returns setof observed_cause
language plpgsql stable
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
begin
    return query
    select s.id, 'budget',
           concat_ws('/', p.period, p.day, p.unit, reached.percent, p.most),
           case reached.percent when 100 then 'critical' else 'warning' end,
           jsonb_build_object(
               'period', p.period, 'unit', p.unit, 'percent', reached.percent,
               'used', trim_scale(p.used::numeric / p.scale),
               'limit', trim_scale(p.most::numeric / p.scale)),
           now(), now(), 1::bigint
    from biz.sites s
    cross join lateral (select local_day(s.timezone) as day) today
    left join biz.ai_budgets b on b.site_id = s.id
    cross join (select l.* from biz.ai_budgets l where l.site_id is null) standard
    cross join lateral (
        select b.daily_limit, b.monthly_limit, b.daily_cost_limit, b.monthly_cost_limit
        where b.id is not null
        union all
        select standard.daily_limit, standard.monthly_limit, standard.daily_cost_limit,
               standard.monthly_cost_limit
        where b.id is null
    ) l
    -- The sums of the month's earlier days, stored by the sweep. Just after midnight they are
    -- missing.
    left join biz.ai_usage_before before on before.site_id = s.id and before.day = today.day
    join biz.ai_usage_days d on d.site_id = s.id and d.day = today.day
    cross join lateral (select date_trunc('month', today.day)::date as day) month
    cross join lateral (values
        ('day', today.day, 'tokens', 1, d.tokens::bigint, l.daily_limit),
        ('month', month.day, 'tokens', 1, d.tokens + coalesce(before.tokens, 0), l.monthly_limit),
        ('day', today.day, 'yuan', 1000000, d.cost::bigint, l.daily_cost_limit),
        ('month', month.day, 'yuan', 1000000, d.cost + coalesce(before.cost, 0),
         l.monthly_cost_limit)
    ) p (period, day, unit, scale, used, most)
    cross join lateral (
        select max(t.percent) as percent from unnest(array[80, 100]) t (percent)
        where p.used * 100 >= p.most * t.percent
    ) reached
    where p.most > 0 and reached.percent is not null
      and exists (select from biz.notification_channels n where n.site_id = s.id and n.enabled)
      -- A reservation may have reached 100 %, and the real usage is less.
      and not exists (
          select from biz.notification_incidents i
          where i.site_id = s.id and i.kind = 'budget' and reached.percent < 100
            and i.cause = concat_ws('/', p.period, p.day, p.unit, 100, p.most));
end $$;

comment on function used_budgets is
    'Budgets of tokens and yuan of which 80 % or 100 % are used. Another limit is another cause';
