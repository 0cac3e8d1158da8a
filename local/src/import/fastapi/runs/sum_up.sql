-- Budgets read the sum of the month's earlier days, which has changed.
insert into biz.ai_usage_before (site_id, day, tokens, cost)
select s.id, today.day,
       coalesce(sum(u.tokens) filter (where u.day < today.day), 0),
       coalesce(sum(u.cost) filter (where u.day < today.day), 0)
from biz.sites s
cross join lateral (select local_day(s.timezone) as day) today
left join biz.ai_usage_days u
    on u.site_id = s.id and u.day >= date_trunc('month', today.day)::date
where s.id in (select n.site_id from jsonb_to_recordset($1) as n (site_id bigint))
group by s.id, today.day
order by s.id
on conflict on constraint ai_usage_before_pkey do update set
    day = excluded.day, tokens = excluded.tokens, cost = excluded.cost
