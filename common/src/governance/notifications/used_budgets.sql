create function used_budgets() returns setof observed_cause
language plpgsql stable
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
begin
    return query
    select s.id, 'budget', p.period || '/' || p.day || '/' || reached.percent || '/' || p.most,
           case reached.percent when 100 then 'critical' else 'warning' end,
           jsonb_build_object(
               'period', p.period, 'percent', reached.percent, 'used', p.used, 'limit', p.most),
           now(), now(), 1::bigint
    from biz.sites s
    cross join lateral (select local_day(s.timezone) as day) today
    left join biz.ai_budgets b on b.site_id = s.id
    cross join (
        select l.daily_limit, l.monthly_limit from biz.ai_budgets l where l.site_id is null
    ) standard
    -- The sum of the month's earlier days, stored by the sweep. Just after midnight it is missing.
    left join biz.ai_usage_before before on before.site_id = s.id and before.day = today.day
    join biz.ai_usage_days d on d.site_id = s.id and d.day = today.day
    cross join lateral (values
        ('day', today.day, d.tokens::bigint, coalesce(b.daily_limit, standard.daily_limit)),
        ('month', date_trunc('month', today.day)::date, d.tokens + coalesce(before.tokens, 0),
         coalesce(b.monthly_limit, standard.monthly_limit))
    ) p (period, day, used, most)
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
            and i.cause = p.period || '/' || p.day || '/100/' || p.most);
end $$;

comment on function used_budgets is
    'Budgets of which 80 % or 100 % are used. Another limit is another cause';
