-- Business data of two fictional halls up to now. Weekends are busier, a few members have stopped
-- coming, and coaches differ in skill. Random values are hashes of names and days, so a day always
-- gets the same data. Each start adds the data since the previous start.
-- Factor of visits by day of the week.
create or replace function pg_temp.bustle(day date) returns double precision language sql immutable as $$
    select (array[0.80, 0.78, 0.85, 0.95, 1.20, 1.60, 1.45])[extract(isodow from day)::integer]
$$;

-- JIT compilation of these statements takes longer than running them.
set local jit = off;

-- All finance insights of a hall need about 200,000 tokens, more than the default daily budget.
insert into biz.ai_budgets (site_id, daily_limit, monthly_limit) values (1, 1000000, 20000000), (2, 1000000, 20000000)
on conflict do nothing;

-- Invented prices of the models that the simulator reports.
insert into biz.ai_prices (model, valid_from, up_to_input_tokens, input_per_million, output_per_million)
values ('qwen-plus', '2026-01-01', '{128000}', '{800000, 2400000}', '{2000000, 20000000}'),
       ('qwen-turbo', '2026-01-01', '{}', '{300000}', '{600000}')
on conflict do nothing;

-- since: data of earlier days is not changed.
create temp table hall (site_id, first_member, members, areas, busy, today, since) on commit drop as
select h.*, t.today, greatest(t.today - 89, (select max(f.business_date) - 1 from dws.finance_area_daily f where f.site_id = h.site_id))
from (values
    (1::bigint, 10001::bigint, 320, array['大厅', '包厢', '斯诺克区'], 1.0),
    (2, 20001, 220, array['大厅', '包厢', '棋牌室'], 0.7)
) h (site_id, first_member, members, areas, busy)
join biz.sites s on s.id = h.site_id
cross join lateral (select local_day(s.timezone, now())) t (today);

create temp table coach (site_id, coach_id, coach_name, skill) on commit drop as
values (1::bigint, 1001::bigint, '阿杰', 1.3), (1, 1011, '小林', 1.0), (1, 1012, '大飞', 0.75), (1, 1013, '阿豹', 0.9),
       (2, 2001, '阿豪', 1.1), (2, 2011, '小七', 0.7), (2, 2012, '老周', 1.2);

-- kind: decides how often a member comes, and until when.
create temp table person on commit drop as
select h.site_id, h.first_member + n as member_id, h.today, h.since,
       pg_temp.choice('surname' || h.site_id || n, string_to_array('王李张刘陈杨黄赵周吴徐孙马朱胡郭何林高罗', null))
           || pg_temp.choice('name' || h.site_id || n, array['伟', '芳', '敏', '强', '磊', '洋', '静', '杰', '婷', '勇', '思远', '子涵', '俊熙', '雨桐', '浩然', '欣怡', '志强', '晓东', '佳琪', '文博']) as name,
       k.kind,
       case k.kind when '常客' then 0.20 + 0.15 * pg_temp.chance('often' || h.site_id || n)
                   when '普通' then 0.05 + 0.05 * pg_temp.chance('often' || h.site_id || n)
                   when '新客' then 0.12 when '流失' then 0.15 else 0.02 end as often,
       h.today - case k.kind when '新客' then (20 * pg_temp.chance('joined' || h.site_id || n))::integer
                             else 90 + (900 * pg_temp.chance('joined' || h.site_id || n))::integer end as joined_on,
       case k.kind when '流失' then h.today - 25 - (25 * pg_temp.chance('gone' || h.site_id || n))::integer else h.today end as comes_until,
       h.areas[1 + floor(3 * pow(pg_temp.chance('area' || h.site_id || n), 1.5))::integer] as area,
       (select c.coach_id from coach c where c.site_id = h.site_id and pg_temp.chance('coached' || h.site_id || n) < 0.45
        order by (0.5 + c.skill) * pg_temp.chance('coach' || c.coach_id || n) desc limit 1) as coach_id,
       (array['工作日下午', '工作日晚上', '周末下午', '周末晚上'])[1 + floor(4 * pg_temp.chance('time' || h.site_id || n))::integer] as favourite_time
from hall h cross join lateral generate_series(0, h.members - 1) n
cross join lateral (select case when c < 0.12 then '常客' when c < 0.50 then '普通' when c < 0.80 then '偶尔' when c < 0.90 then '新客' else '流失' end
                    from (select pg_temp.chance('kind' || h.site_id || n)) x (c)) k (kind);

insert into dws.member_profile (site_id, member_id, name, level, joined_on, birthday, balance, coach_id, favourite_area, favourite_time)
select site_id, member_id, name,
       case kind when '常客' then pg_temp.choice('level' || member_id, array['金卡', '钻石']) when '新客' then '普卡' else pg_temp.choice('level' || member_id, array['普卡', '银卡', '金卡']) end,
       joined_on,
       to_char(date '2024-01-01' + (365 * pg_temp.chance('born' || member_id))::integer, 'MM-DD'),
       round((case kind when '常客' then 600 when '流失' then 260 else 120 end * (0.2 + 1.8 * pg_temp.chance('balance' || member_id)))::numeric, 2),
       coach_id, area, favourite_time
from person
on conflict do nothing;

-- At most one visit a day, with one order.
insert into dws.member_consumption (site_id, order_id, member_id, business_date, paid_at, area, item, minutes, amount, coach_id)
select v.site_id, to_char(v.day, 'YYYYMMDD')::bigint * 100000 + v.member_id, v.member_id, v.day, v.paid_at, v.area,
       case when v.coach_id is not null then '陪练课' when v.area = '包厢' then '包厢畅打' when v.area = '棋牌室' then '棋牌' else '台费' end,
       v.minutes,
       round((v.minutes / 60.0 * case v.area when '包厢' then 88 when '斯诺克区' then 68 when '棋牌室' then 58 else 46 end
              + case when v.coach_id is null then 0 else v.minutes / 60.0 * 90 end
              + case when pg_temp.chance('drinks' || v.key) < 0.4 then 12 + 60 * pg_temp.chance('drinks+' || v.key) else 0 end)::numeric, 2),
       v.coach_id
from (
    select p.site_id, p.member_id, d.day, k.key,
           case when pg_temp.chance('elsewhere' || k.key) < 0.8 then p.area else '大厅' end as area,
           60 + 15 * floor(9 * pg_temp.chance('minutes' || k.key))::integer as minutes,
           case when p.coach_id is not null
                 and pg_temp.chance('lesson' || k.key) < 0.35 * (select c.skill from coach c where c.site_id = p.site_id and c.coach_id = p.coach_id)
                then p.coach_id end as coach_id,
           (d.day + interval '13 hours' + interval '10 hours' * pg_temp.chance('hour' || k.key)) at time zone s.timezone as paid_at
    from person p
    join biz.sites s on s.id = p.site_id
    cross join lateral (select x::date from generate_series(greatest(p.joined_on, p.since), p.comes_until, interval '1 day') x) d (day)
    cross join lateral (select p.member_id || '/' || d.day) k (key)
    where pg_temp.chance('comes' || k.key) < p.often * pg_temp.bustle(d.day)
) v
where v.paid_at <= now()
on conflict do nothing;

-- Members and walk-ins together. The newest days are updated, because they were incomplete.
insert into dws.finance_area_daily (site_id, business_date, area, revenue, orders, table_minutes, member_orders, new_members, recharged)
select h.site_id, d.day, a.area,
       round((coalesce(m.amount, 0) + w.orders * (70 + 50 * pg_temp.chance('ticket' || k.key)))::numeric, 2),
       coalesce(m.orders, 0) + w.orders,
       coalesce(m.minutes, 0) + w.orders * 95,
       coalesce(m.orders, 0),
       case a.area when '大厅' then (select count(*) from person p where p.site_id = h.site_id and p.joined_on = d.day) else 0 end,
       case a.area when '大厅' then round((500 * floor(6 * h.busy * pg_temp.bustle(d.day) * pg_temp.chance('recharge' || k.key)))::numeric, 2) else 0 end
from hall h
cross join lateral (select x::date from generate_series(h.since, h.today, interval '1 day') x) d (day)
cross join lateral unnest(h.areas) with ordinality a (area, place)
cross join lateral (select h.site_id || '/' || d.day || '/' || a.area) k (key)
left join lateral (
    select count(*)::integer as orders, sum(c.amount) as amount, sum(c.minutes)::integer as minutes
    from dws.member_consumption c where c.site_id = h.site_id and c.business_date = d.day and c.area = a.area
) m on true
cross join lateral (
    -- For today, only the part of the day that has passed.
    select floor(h.busy * pg_temp.bustle(d.day) * (array[34, 12, 9])[a.place] * (0.75 + 0.5 * pg_temp.chance('walk-in' || k.key))
                 * case d.day when h.today then least(1, greatest(0, extract(epoch from now() - (d.day + interval '12 hours') at time zone 'Asia/Shanghai') / 39600)) else 1 end
                )::integer as orders
) w
on conflict (site_id, business_date, area) do update set
    revenue = excluded.revenue, orders = excluded.orders, table_minutes = excluded.table_minutes,
    member_orders = excluded.member_orders, new_members = excluded.new_members, recharged = excluded.recharged;

insert into dws.coach_daily (site_id, coach_id, coach_name, business_date, lessons, lesson_minutes, members, revenue)
select c.site_id, c.coach_id, c.coach_name, m.business_date, count(*), sum(m.minutes), count(distinct m.member_id), sum(m.amount)
from coach c
join hall h on h.site_id = c.site_id
join dws.member_consumption m on m.site_id = c.site_id and m.coach_id = c.coach_id and m.business_date >= h.since
group by c.site_id, c.coach_id, c.coach_name, m.business_date
on conflict (site_id, coach_id, business_date) do update set
    lessons = excluded.lessons, lesson_minutes = excluded.lesson_minutes, members = excluded.members, revenue = excluded.revenue;

insert into dws.coach_task (site_id, task_id, coach_id, coach_name, member_id, title, detail, status, assigned_on, due_on, done_on)
select c.site_id, c.coach_id * 1000 + n, c.coach_id, c.coach_name, p.member_id,
       t.title, replace(t.detail, '{}', p.name), case when done then 'done' else 'open' end, a.day, a.day + 7,
       case when done then a.day + 1 + floor(5 * pg_temp.chance('done' || c.coach_id || n))::integer end
from coach c
cross join generate_series(1, 24) n
join lateral (
    select * from person p where p.site_id = c.site_id and p.coach_id = c.coach_id
    order by pg_temp.chance('task' || c.coach_id || n || p.member_id) limit 1
) p on true
cross join lateral (values (0, '回访久未到店的会员', '{}有段时间没有来了，打个电话了解原因，并邀请本周到店。'),
                           (1, '约一次体验课', '{}常来打球但还没有系统学过，邀请上一次陪练体验课。'),
                           (2, '提醒余额', '{}的储值卡余额不多了，介绍本月的充值活动。'),
                           (3, '生日关怀', '{}快过生日了，送上祝福和一小时免费台费。')) t (kind, title, detail)
cross join lateral (select p.today - (n * 3 + floor(3 * pg_temp.chance('on' || c.coach_id || n))::integer)) a (day)
cross join lateral (select n > 2 and pg_temp.chance('finished' || c.coach_id || n) < 0.35 + 0.4 * c.skill) f (done)
where t.kind = n % 4
on conflict do nothing;

insert into dws.member_note (site_id, note_id, member_id, author_id, author_name, written_at, content)
select p.site_id, p.member_id * 100 + n, p.member_id, c.coach_id, c.coach_name,
       (p.today - (7 + 60 * pg_temp.chance('noted' || p.member_id || n))::integer + interval '21 hours') at time zone s.timezone,
       replace(pg_temp.choice('note' || p.member_id || n, case p.kind
           when '流失' then array['{}说最近加班多，周末也要带孩子，等忙完再来。', '{}嫌离家远，附近新开了一家球房，可能去那边了。', '电话没人接，微信也没回。{}上次来的时候说台呢有点旧。']
           when '新客' then array['{}第一次来，是同事带来的，想学标准姿势。', '{}对斯诺克很感兴趣，问了陪练的价格。']
           when '常客' then array['{}喜欢安静的台子，每次都要 6 号台，爱喝乌龙茶。', '{}想参加下个月的店内比赛，希望有人陪练走位。', '{}经常带客户来，包厢提前一天留好最满意。']
           else array['{}一般和朋友来，玩两三个小时，点小食比较多。', '{}对会员日的活动感兴趣，周三会来。', '{}觉得周末人太多要等台，希望可以预约。'] end), '{}', p.name)
from person p
join biz.sites s on s.id = p.site_id
join coach c on c.site_id = p.site_id and c.coach_id = p.coach_id
cross join generate_series(1, 2) n
where pg_temp.chance('writes' || p.member_id || n) < 0.7
on conflict do nothing;
