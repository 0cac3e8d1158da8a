-- Chats, jobs and results of the last 30 days, and what users and admins did with them. The caller
-- checks that the database has none yet. Random values are hashes, as in business.sql.
-- The temporary table `app` has the prompt version, the validity and an example answer of each app.
set local jit = off;

-- One of `values_count` integers, from `least_value` on.
create or replace function pg_temp.among(key text, least_value integer, values_count integer) returns integer language sql immutable as $$
    select least_value + floor(pg_temp.chance(key) * values_count)::integer
$$;

-- An invented price, as in business.sql. The other two models have theirs there.
insert into biz.ai_prices (model, valid_from, up_to_input_tokens, input_per_million, output_per_million)
values ('qwen-max', '2026-01-01', '{}', '{2400000}', '{9600000}')
on conflict do nothing;

-- bustle: factor of chats on the day.
create temp table day on commit drop as
select s.id as site_id, s.timezone, t.today - n as day, n as ago,
       (array[0.80, 0.78, 0.85, 0.95, 1.20, 1.60, 1.45])[extract(isodow from t.today - n)::integer] as bustle,
       f.revenue, f.orders, f.area
from biz.sites s
cross join lateral (select local_day(s.timezone, now())) t (today)
cross join generate_series(0, 29) n
-- Figures of the day before, for the answers.
cross join lateral (
    select coalesce(sum(d.revenue), 0) as revenue, coalesce(sum(d.orders), 0) as orders,
           coalesce((array_agg(d.area order by d.revenue desc))[1], '大厅') as area
    from dws.finance_area_daily d where d.site_id = s.id and d.business_date = t.today - n - 1
) f
where s.id in (1, 2);

-- Members that texts and jobs are about, without those who have stopped coming.
create temp table member on commit drop as
select m.site_id, m.member_id, m.name, m.coach_id, m.favourite_area, m.favourite_time, m.balance,
       row_number() over (partition by m.site_id order by pg_temp.chance('about' || m.member_id)) as place
from dws.member_profile m where m.site_id in (1, 2);
create unique index on member (site_id, place);
create unique index on member (site_id, member_id);

------------------------------------------------------------------------------------------------
-- Chats

-- office: asked by managers and admins. Otherwise by coaches and staff.
create temp table talk (topic, place, is_office, is_about_member, question, answer) on commit drop as values
(1, 1, false, true, '{名}最近来得怎么样？下次来我该聊点什么？',
 E'**{名}** 常在{时}来，喜欢{区}。\n\n1. 先问问上次那局打得怎么样，别一上来就推卡；\n2. 他的走位还不稳，可以约一次 60 分钟的体验课；\n3. 储值余额还有 {余} 元，暂时不用提充值。'),
(1, 2, false, true, '帮我写一条微信，语气轻松一点',
 E'可以这样发：\n\n> {名}，这周{时}球房不挤，给你留了张靠窗的台，上次那个中袋我们再练练？来之前跟我说一声，我先把灯开好。'),
(1, 3, false, true, '如果他说最近忙呢？',
 '不要追问。回一句“没事，忙完再约，台子给你留着”，两周后再联系一次。这期间可以在朋友圈给他点个赞，保持存在感。'),
(2, 1, false, false, '新手握杆总是翻腕，怎么教比较好？',
 E'分三步：\n\n- **先放松**：后手只用拇指、食指和中指轻轻勾住杆，手心留空；\n- **再固定**：小臂垂直地面，肘部不动，空杆来回 20 次；\n- **最后打定点**：白球放在开球线，只打直线，翻腕时白球会偏，他自己就能看出来。\n\n一节课只纠正这一个动作，效果最好。'),
(2, 2, false, false, '他说练直线太枯燥',
 '把直线练习改成计分：10 杆里进 7 杆算过关，过关一次奖励一局 9 球。枯燥的动作有了目标，坚持得更久。'),
(3, 1, false, false, '今天晚上有哪些会员可能会来？',
 E'按最近的到店规律，今晚可能来的有：\n\n| 会员 | 常来时段 | 建议 |\n|---|---|---|\n| {名} | {时} | 预留{区}，准备乌龙茶 |\n| 上周约过课的两位 | 19:00 以后 | 提前确认是否上课 |\n\n周末人多，建议 18:30 前把预约台核对一遍。'),
(3, 2, false, false, '要是台子不够怎么安排？',
 '先保证预约和上课的台，再按到店顺序排队。等台超过 20 分钟的，送一杯饮料并报一下大概还要多久，流失会少很多。'),
(4, 1, false, true, '{名}的储值卡还有多少钱？够打几次？',
 '{名} 的余额是 {余} 元。按他常打的{区}和每次两小时左右估算，还够打几次，临近用完时系统会提醒，届时再介绍充值活动更自然。'),
(5, 1, false, false, '客人说台呢太旧影响手感，我该怎么回？',
 E'先认同，再给时间点：\n\n> 您说得对，这张台的台呢用得比较久了，我马上给您换到 3 号台。我们已经报了更换，换好第一时间告诉您。\n\n然后把台号记到备注里，方便店长统计。'),
(6, 1, true, false, '昨天店里生意怎么样？',
 E'昨天营收 **{额} 元**，共 {单} 单，{区域}贡献最多。\n\n- 晚间（18:00 以后）约占六成；\n- 会员单占比和上周同期接近；\n- 下午时段偏空，可以考虑工作日下午的双人套餐。'),
(6, 2, true, false, '和上周同一天比呢？',
 '和上周同一天相比变化在一成以内，主要差在散客。会员到店稳定，说明陪练课在留人；散客受天气和周边活动影响更大。'),
(6, 3, true, false, '那这周重点抓什么？',
 E'建议抓两件事：\n\n1. **周五、周六晚上的排台**：提前两小时确认预约，减少空置；\n2. **沉睡会员回访**：30 天没来的会员由对应教练各打 5 个电话，周日晚上汇总。'),
(7, 1, true, false, '哪个教练的课最近比较好？',
 E'按近 30 天的课时和复购看，课时最多的教练复购也最高；课时偏少的教练体验课转化低，问题多在课后没有跟进。\n\n建议让他们旁听两节课，再统一课后 24 小时内的回访话术。'),
(7, 2, true, false, '回访话术给我一个模板',
 E'> 您好，我是昨天带您练球的教练。今天手臂酸吗？酸说明发力点对了。我把昨天的要点写给您：①握杆放松 ②肘部不动 ③看着目标球出杆。下次我们练定位，您看周几方便？'),
(8, 1, true, false, '帮我拟一个会员日的活动方案',
 E'**会员日方案（每周三）**\n\n- 14:00–18:00 台费 6 折，会员可带一位朋友；\n- 充 500 送 60，当天有效；\n- 晚上 8 点举办 9 球快打赛，前三名送陪练课。\n\n预计增加 15–20 单，成本主要是台费让利，可以先试两周再决定是否长期做。'),
(8, 2, true, false, '写一段发会员群的文案',
 E'> 📣 周三会员日来啦！下午两点到六点台费 6 折，带朋友一起打更划算。晚上八点 9 球快打赛，报名接龙，前三名送陪练课！'),
(9, 1, true, false, '包厢的使用率怎么提高？',
 E'包厢主要空在工作日白天。可以试：\n\n1. 与附近公司谈团建，两小时起订送茶水；\n2. 包厢下午场按人计价，门槛更低；\n3. 常带客户来的会员提前一天留房，不收订金。');

create temp table asker (site_id, user_id, is_office, weight) on commit drop as values
(1::bigint, 1001::bigint, false, 1.9), (1, 1002, false, 1.3), (1, 1003, true, 1.5), (1, 1004, true, 0.6), (2, 2001, false, 1.6), (2, 2004, true, 0.8);

create temp table chat on commit drop as
select row_number() over (order by c.at, c.key) as id, c.*, m.member_id, coalesce(m.name, '') as name,
       case when b.is_bot then '00000000-0000-4000-8000-000000000001'::uuid end as bot_id
from (
    select a.*, d.ago, d.timezone, d.revenue, d.orders, d.area, k.key,
           case when a.is_office then pg_temp.among('topic' || k.key, 6, 4) else pg_temp.among('topic' || k.key, 1, 5) end as topic,
           (d.day + case when pg_temp.chance('evening' || k.key) < 0.7 then interval '18 hours' + interval '5 hours' * pg_temp.chance('hour' || k.key)
                         else interval '10 hours' + interval '8 hours' * pg_temp.chance('hour' || k.key) end) at time zone d.timezone as at
    from asker a join day d on d.site_id = a.site_id
    cross join generate_series(1, 5) n
    cross join lateral (select concat_ws('/', a.user_id, d.ago, n)) k (key)
    where n <= a.weight * d.bustle + pg_temp.chance('chats' || k.key)
) c
join member m on m.site_id = c.site_id and m.place = pg_temp.among('chat' || c.key, 1, 60)
cross join lateral (select pg_temp.chance('bot' || c.key) < 0.15) b (is_bot)
where c.at <= now() - interval '10 minutes';

-- fate: how the reply ended. ms: its duration.
create temp table turn on commit drop as
select row_number() over (order by t.at, t.chat_id, t.place) as n, t.*, f.fate,
       case f.fate when 'failed' then 1800 + pg_temp.among('ms' || t.key, 0, 1500) when 'timeout' then 60000 + pg_temp.among('ms' || t.key, 0, 300)
                   else t.first_ms + char_length(t.answer) * pg_temp.among('speed' || t.key, 18, 14) end::bigint as ms
from (
    select c.id as chat_id, c.site_id, c.user_id, c.bot_id, c.ago, c.timezone, k.key, t.place, c.at + interval '100 seconds' * (t.place - 1 + 0.3 * pg_temp.chance('pause' || k.key)) as at,
           replace(t.question, '{名}', c.name) as question,
           replace(replace(replace(replace(replace(replace(replace(t.answer, '{名}', c.name), '{区域}', c.area), '{区}', m.favourite_area), '{时}', m.favourite_time),
               '{余}', m.balance::text), '{额}', round(c.revenue)::text), '{单}', c.orders::text) as answer,
           (380 + 1600 * pow(pg_temp.chance('first' || k.key), 3))::bigint as first_ms
    from chat c
    join member m on m.site_id = c.site_id and m.member_id = c.member_id
    join talk t on t.topic = c.topic
    cross join lateral (select concat_ws('/', c.key, t.place)) k (key)
    where t.place = 1 or pg_temp.chance('more' || c.key) < 1.1 - 0.3 * t.place
) t
cross join lateral (
    select case when t.ago in (4, 5) and (t.at at time zone t.timezone)::time >= '18:00' and pg_temp.chance('fate' || t.key) < 0.65 then 'failed'
                when t.ago = 1 and pg_temp.chance('fate' || t.key) < 0.12 then 'failed'
                when t.ago in (9, 17) and pg_temp.chance('fate' || t.key) < 0.3 then 'timeout'
                when pg_temp.chance('stop' || t.key) < 0.025 then 'stopped'
                else 'success' end
) f (fate);
create index on turn (chat_id);
-- A user stops a reply that has begun.
update turn set answer = left(answer, 1 + char_length(answer) / 3) where fate = 'stopped';
update turn set answer = '' where fate in ('failed', 'timeout');

insert into biz.ai_conversations (
    id, public_id, site_id, user_id, context_type, context_id, title, message_count, read_seq, last_message_id, last_message_role,
    last_message_preview, last_message_at, last_active_at, created_at, updated_at, bot_id, agent_id, pinned)
overriding system value
select c.id, md5('chat' || c.key)::uuid, c.site_id, c.user_id,
       case when c.bot_id is not null then 'bot' when o.is_about_member then 'customer' else 'general' end,
       case when c.bot_id is null and o.is_about_member then c.member_id::text else '' end,
       left(f.question, 30), 2 * f.turns, 2 * f.turns,
       2 * l.n - (l.answer = '')::integer, case l.answer when '' then 'user' else 'assistant' end,
       left(case l.answer when '' then l.question else l.answer end, 100), l.at, l.at, c.at, l.at,
       c.bot_id, (select b.agent_id from biz.bots b where b.id = c.bot_id),
       pg_temp.chance('pinned' || c.key) < 0.02
from chat c
join (select distinct topic, is_about_member from talk) o on o.topic = c.topic
cross join lateral (select count(*) as turns, (array_agg(t.question order by t.place))[1] as question from turn t where t.chat_id = c.id) f
join lateral (select t.* from turn t where t.chat_id = c.id order by t.place desc limit 1) l on true;

insert into biz.ai_messages (id, conversation_id, site_id, user_id, seq, role, content, state, reply_to, client_message_id, tokens_used, error_code,
                             created_at, finished_at, is_cut)
overriding system value
select 2 * t.n - 1, t.chat_id, t.site_id, t.user_id, 2 * p.place - 1, 'user', t.question, 'complete', null::bigint, md5(t.key)::uuid::text, null::bigint, null, t.at, t.at, null::boolean
from turn t cross join lateral (select count(*) as place from turn o where o.chat_id = t.chat_id and o.place <= t.place) p
union all
select 2 * t.n, t.chat_id, t.site_id, t.user_id, 2 * p.place, 'assistant', t.answer,
       case t.fate when 'success' then 'complete' when 'stopped' then 'stopped' else 'failed' end, 2 * t.n - 1, null, null,
       case t.fate when 'failed' then 'upstream_error' when 'timeout' then 'upstream_timeout' end,
       t.at, t.at + t.ms * interval '1 ms', case t.fate when 'success' then false end
from turn t cross join lateral (select count(*) as place from turn o where o.chat_id = t.chat_id and o.place <= t.place) p;

------------------------------------------------------------------------------------------------
-- Jobs

-- fate: succeeded; bad_answer: fails at its second step; upstream: fails at its first step;
-- retried: succeeds after an unusable answer; cancelled; duplicate; budget and retry: pending.
create temp table new_job (
    key text primary key, site_id bigint, event_type text, connector text, trigger text, member_id bigint, payload jsonb, chain text[],
    at timestamptz, fate text, event_id text, subject text, duplicate_of text, batch_id uuid, requested_by bigint, is_forced boolean default false
) on commit drop;

-- Each morning, for the finance board.
insert into new_job (key, site_id, event_type, connector, trigger, payload, chain, at, fate, subject)
select concat_ws('/', 'prewarm', d.site_id, d.ago, p.period, a.app), d.site_id, 'prewarm', 'schedule', 'prewarm',
       case a.app when 'app2_finance' then jsonb_build_object('period', p.period, 'area', 'all') else jsonb_build_object('period', p.period) end,
       array[a.app],
       (d.day + interval '6 hours' + interval '1 second' * (7 * p.place + 31 * d.site_id)) at time zone d.timezone,
       case when d.ago = 5 and p.period = 'this_month' then 'upstream'
            when d.ago in (7, 8) and p.period = 'yesterday' then 'retried' else 'succeeded' end,
       a.app || '/' || p.period || case a.app when 'app2_finance' then ':all' else '' end
from day d
cross join unnest(array['yesterday', 'this_week', 'this_month', 'last_month']) with ordinality p (period, place)
cross join unnest(array['app2_finance', 'app2a_finance_area']) a (app)
where p.place <= 2 or a.app = 'app2_finance';

-- After payments of members.
insert into new_job (key, site_id, event_type, connector, trigger, member_id, payload, chain, at, fate, event_id, subject)
select 'order/' || o.order_id, o.site_id, 'consumption.settled', 'event_bus', 'event', o.member_id,
       jsonb_strip_nulls(jsonb_build_object('order_id', o.order_id, 'coach_id', o.coach_id)),
       array['app3_clue', 'app8_clue_consolidated', 'app7_customer_analysis'] || case when o.coach_id is not null then array['app4_analysis', 'app5_tactics'] else '{}' end,
       o.paid_at + interval '20 seconds',
       case when d.ago in (7, 8) and o.place % 3 = 0 then 'bad_answer'
            when d.ago in (4, 5) and (o.paid_at at time zone d.timezone)::time >= '19:00' then 'upstream'
            when d.ago in (6, 7, 8, 20) and o.place % 2 = 0 then 'retried'
            when d.ago = 13 and o.place = 2 then 'cancelled'
            else 'succeeded' end,
       'order-' || o.order_id, 'order_id:' || o.order_id
from day d
join lateral (
    select c.*, row_number() over (order by pg_temp.chance('event' || c.order_id)) as place
    from dws.member_consumption c
    where c.site_id = d.site_id and c.business_date = d.day and c.paid_at < now() - interval '10 minutes'
) o on o.place <= 3 + 2 * d.bustle;

-- The cash desk has sent some payments twice, which is a duplicate.
insert into new_job (key, site_id, event_type, connector, trigger, member_id, payload, chain, at, fate, event_id, subject, duplicate_of)
select key || '/again', site_id, event_type, connector, trigger, member_id, payload, chain, at + interval '4 minutes', 'duplicate', event_id || '-2', subject, key
from new_job where event_type = 'consumption.settled' and fate = 'succeeded' and pg_temp.chance('again' || key) < 0.04
  and at < now() - interval '15 minutes';

insert into new_job (key, site_id, event_type, connector, trigger, member_id, payload, chain, at, fate, event_id, subject)
select 'note/' || n.note_id, n.site_id, 'note.created', 'event_bus', 'event', n.member_id, jsonb_build_object('note_id', n.note_id),
       array['app6_note_analysis', 'app8_clue_consolidated'], n.written_at + interval '30 seconds', 'succeeded', 'note-' || n.note_id, 'note_id:' || n.note_id
from dws.member_note n join day d on d.site_id = n.site_id and d.day = local_day(d.timezone, n.written_at)
where pg_temp.chance('noted' || n.note_id) < 0.5 and n.written_at < now() - interval '10 minutes'
union all
select 'task/' || t.task_id, t.site_id, 'task.assigned', 'admin_api', 'event', t.member_id, jsonb_build_object('task_id', t.task_id, 'coach_id', t.coach_id),
       array['app4_analysis', 'app5_tactics'], (t.assigned_on + interval '10 hours' + interval '1 second' * (t.task_id % 600)) at time zone d.timezone,
       'succeeded', 'task-' || t.task_id, 'task_id:' || t.task_id
from dws.coach_task t join day d on d.site_id = t.site_id and d.day = t.assigned_on;

-- A page asked for missing insights.
insert into new_job (key, site_id, event_type, connector, trigger, member_id, payload, chain, at, fate, requested_by, subject)
select 'refresh/' || n, 1, 'insight.refresh', 'insights_api', 'manual', m.member_id, '{}', array['app7_customer_analysis'],
       now() - n * interval '31 hours', 'succeeded', (array[1001, 1002, 1003])[n], 'app7_customer_analysis/member:' || m.member_id
from generate_series(1, 3) n join member m on m.site_id = 1 and m.place = 70 + n;

-- Batches: one is done, one is half done, one waits for its confirmation, one was cancelled.
create temp table new_batch (id, site_id, apps, first_place, members, made, is_confirmed, is_cancelled) on commit drop as
select md5('batch' || id)::uuid, site_id, apps, first_place, members, now() - made, is_confirmed, is_cancelled
from (values (1, 1::bigint, array['app3_clue', 'app8_clue_consolidated', 'app7_customer_analysis'], 81, 8, interval '6 days 3 hours', true, false),
             (2, 1, array['app4_analysis', 'app5_tactics'], 101, 12, interval '40 minutes', true, false),
             (3, 1, array['app3_clue', 'app8_clue_consolidated', 'app7_customer_analysis'], 121, 25, interval '1 minute', false, false),
             (4, 2, array['app7_customer_analysis'], 81, 10, interval '11 days 5 hours', true, true)
     ) b (id, site_id, apps, first_place, members, made, is_confirmed, is_cancelled);

insert into new_job (key, site_id, event_type, connector, trigger, member_id, payload, chain, at, fate, batch_id, is_forced)
select concat_ws('/', 'batch', b.id, m.place), b.site_id, 'batch', 'batch', 'batch', m.member_id, '{}', b.apps, b.made + interval '2 minutes',
       case when b.is_cancelled and m.place - b.first_place >= 4 then 'cancelled'
            when b.made < now() - interval '1 day' then 'succeeded'
            when m.place - b.first_place < 6 then 'succeeded'
            when m.place - b.first_place < 8 then 'retry'
            else 'budget' end,
       b.id, true
from new_batch b join member m on m.site_id = b.site_id and m.place between b.first_place and b.first_place + b.members - 1
where b.is_confirmed;

delete from new_job where at > now() - interval '5 minutes';
alter table new_job add id bigint;
update new_job j set id = o.id from (select key, row_number() over (order by at, key) as id from new_job) o where o.key = j.key;

-- Each call of a job. tries: calls of the step; all except the last one are unusable. is_good: the
-- last one has a result.
create temp table call on commit drop as
select row_number() over (order by j.at, j.id, s.place, t.try) + (select count(*) from turn) as id, j.id as job_id, j.key, j.site_id, j.member_id, j.trigger, j.fate,
       s.app, s.place, t.try, t.try = s.tries and s.is_good as is_good, s.target,
       j.at + interval '3 seconds' + interval '25 seconds' * (s.place - 1) + case j.fate when 'upstream' then interval '45 seconds' else interval '8 seconds' end * (t.try - 1) as at,
       case when j.fate = 'upstream' then 2400 else 3200 + pg_temp.among('ms' || k.key, 0, 4300) end::bigint as ms,
       k.key as call_key, null::jsonb as result
from new_job j
cross join lateral (
    select s.app, s.place, case when a.kind = 'good' or j.fate = 'retry' then 1 when a.kind = 'retried' then 2 when a.kind = 'bad' and j.fate = 'upstream' then 5 else 3 end as tries, a.kind in ('good', 'retried') as is_good,
           case s.app when 'app2_finance' then j.payload ->> 'period' || ':all' when 'app2a_finance_area' then j.payload ->> 'period'
                when 'app6_note_analysis' then 'note:' || (j.payload ->> 'note_id')
                when 'app4_analysis' then coalesce('task:' || (j.payload ->> 'task_id'), 'member:' || j.member_id)
                when 'app5_tactics' then coalesce('task:' || (j.payload ->> 'task_id'), 'member:' || j.member_id)
                else 'member:' || j.member_id end as target
    from unnest(j.chain) with ordinality s (app, place)
    cross join lateral (
        select case when j.fate = 'succeeded' then 'good'
                    when j.fate = 'retried' then case s.place when 1 then 'retried' else 'good' end
                    when j.fate = 'bad_answer' and s.place = 1 then 'good'
                    when j.fate = 'bad_answer' and s.place = 2 then 'bad'
                    when j.fate in ('upstream', 'retry') and s.place = 1 then 'bad' end
    ) a (kind)
    where a.kind is not null
) s
cross join lateral generate_series(1, s.tries) t (try)
cross join lateral (select concat_ws('/', j.key, s.app, t.try)) k (key);

create unique index on call (id);
create index on call (job_id);
update call c set result = case c.app
    when 'app2_finance' then jsonb_build_object('insights', jsonb_build_array(
        jsonb_build_object('seq', 1, 'title', '晚间是主要收入来源', 'body', '18 点以后的营收约占六成，周五、周六尤其明显。建议周末晚上提前两小时核对预约，减少空台。'),
        jsonb_build_object('seq', 2, 'title', pg_temp.choice('f2' || c.call_key, array['会员单占比稳定', '散客略有下降', '陪练课带动客单价']), 'body', '与上一周期相比变化在一成以内，属于正常波动；可以继续观察一周再调整价格。'),
        jsonb_build_object('seq', 3, 'title', '工作日下午利用率低', 'body', '14 点到 17 点台位空置较多，可以推出双人套餐，目标每天增加 6 到 8 单。')))
    when 'app2a_finance_area' then jsonb_build_object('insights', jsonb_build_array(
        jsonb_build_object('seq', 1, 'title', '大厅贡献最多', 'body', '大厅订单最多，但客单价低于包厢。高峰时段可以引导三人以上的客人去包厢。'),
        jsonb_build_object('seq', 2, 'title', '包厢增长较快', 'body', '包厢营收的增长快于订单，说明每单时长变长，建议保证茶水和点单的响应。')))
    when 'app6_note_analysis' then jsonb_build_object('score', pg_temp.among('score' || c.call_key, 4, 6), 'clues', jsonb_build_array(
        jsonb_build_object('category', '到店习惯', 'summary', m.name || '有明确的到店时段', 'detail', '备注提到的时段与近两个月的消费记录一致，适合提前一天留台。')))
    when 'app3_clue' then jsonb_build_object('clues', jsonb_build_array(
        jsonb_build_object('category', '消费偏好', 'summary', m.name || '偏好' || m.favourite_area, 'detail', '近三个月大多数订单在' || m.favourite_area || '，常在' || m.favourite_time || '到店。'),
        jsonb_build_object('category', '储值', 'summary', '余额 ' || m.balance || ' 元', 'detail', '按目前的频率还能使用一段时间，暂不需要提醒充值。')))
    when 'app8_clue_consolidated' then jsonb_build_object('clues', jsonb_build_array(
        jsonb_build_object('category', '到店习惯', 'summary', '常在' || m.favourite_time || '到店', 'detail', '消费明细与备注一致，可以在这个时段前联系。', 'providers', jsonb_build_array('消费线索', '备注分析')),
        jsonb_build_object('category', '消费偏好', 'summary', '喜欢' || m.favourite_area, 'detail', '订单集中在这个区域。', 'providers', jsonb_build_array('消费线索'))))
    when 'app7_customer_analysis' then jsonb_build_object('summary', m.name || '到店规律稳定，对陪练课有兴趣，适合用课程而不是折扣来维护。', 'strategies', jsonb_build_array(
        jsonb_build_object('title', '固定留台', 'content', m.favourite_time || '前一天确认是否到店，优先安排' || m.favourite_area || '。'),
        jsonb_build_object('title', '体验课', 'content', '邀请上一次 60 分钟的体验课，课后 24 小时内发送要点。'),
        jsonb_build_object('title', '适时充值', 'content', '余额低于 100 元时再介绍充值活动，避免过早推销。')))
    when 'app4_analysis' then jsonb_build_object('one_line_summary', '趁' || m.name || '到店前主动邀约，一次只谈一件事', 'task_description', '联系' || m.name || '，确认近况并邀请本周到店，把结果写进备注。',
        'action_suggestions', jsonb_build_array(m.favourite_time || '之前发一条微信，不要打电话', '提前留好' || m.favourite_area || '的台', '见面后先聊上次的球，再提课程'))
    when 'app5_tactics' then jsonb_build_object('tactics', jsonb_build_array(
        jsonb_build_object('scenario', '邀约到店', 'script', m.name || '你好，这周' || m.favourite_time || '给你留了台，要不要来练两杆？'),
        jsonb_build_object('scenario', '对方说忙', 'script', '没事，忙完再约，台子给你留着。'),
        jsonb_build_object('scenario', '介绍课程', 'script', '上次那个走位其实差一点点，下次我带你练二十分钟就会了。')))
    end
from call t left join member m on m.site_id = t.site_id and m.member_id = t.member_id
where t.id = c.id and c.is_good;

analyze call;

insert into biz.ai_batches (id, site_id, app_types, member_ids, estimated_calls, estimated_tokens, estimated_cost, expires_at, confirmed_at, cancelled_at, created_by, created_at)
select b.id, b.site_id, b.apps, m.ids, cardinality(b.apps) * cardinality(m.ids), 3400 * cardinality(b.apps) * cardinality(m.ids),
       5200 * cardinality(b.apps) * cardinality(m.ids),
       -- An estimate is valid for ten minutes. The open one is valid for a day, so that it can be
       -- confirmed in the demo.
       case when b.is_confirmed then b.made + interval '10 minutes' else b.made + interval '1 day' end,
       case when b.is_confirmed then b.made + interval '2 minutes' end, case when b.is_cancelled then b.made + interval '4 minutes' end,
       case b.site_id when 1 then 1004 else 2004 end, b.made
from new_batch b
cross join lateral (select array_agg(member_id order by place) from member m where m.site_id = b.site_id and m.place between b.first_place and b.first_place + b.members - 1) m (ids);

insert into biz.ai_trigger_jobs (
    id, site_id, event_type, connector_type, trigger_type, member_id, payload, app_chain, step, is_forced, status, attempts, claims, run_after, event_id, dedup_key,
    duplicate_of, batch_id, error_code, error_message, created_at, started_at, finished_at, urgency, waits_for, waits_tokens, requested_by)
overriding system value
select j.id, j.site_id, j.event_type, j.connector, j.trigger, j.member_id, j.payload, j.chain,
       case when j.fate in ('succeeded', 'retried') then cardinality(j.chain) when j.fate = 'bad_answer' then 1 else 0 end, j.is_forced,
       case j.fate when 'succeeded' then 'succeeded' when 'retried' then 'succeeded' when 'bad_answer' then 'failed' when 'upstream' then 'failed'
            when 'cancelled' then 'cancelled' when 'duplicate' then 'skipped_duplicate' else 'pending' end,
       case j.fate when 'upstream' then 5 when 'cancelled' then 0 when 'duplicate' then 0 when 'budget' then 0 else 1 end,
       case when j.fate in ('cancelled', 'duplicate') then 0 when j.fate = 'budget' then 1 when j.fate = 'upstream' then 5 else 1 end,
       case when j.fate in ('retry', 'budget') then now() + interval '2 hours' else j.at end,
       j.event_id, case when j.batch_id is null then concat_ws('/', local_day(s.timezone, j.at), j.event_type, case when j.event_type not in ('prewarm', 'insight.refresh') then coalesce(j.member_id::text, '-') end, j.subject) end,
       d.id, j.batch_id,
       case j.fate when 'bad_answer' then 'bad_answer' when 'upstream' then 'upstream_error' when 'retry' then 'upstream_error' when 'budget' then 'budget_exceeded' end,
       case j.fate when 'bad_answer' then 'the answer is not JSON' when 'upstream' then 'DashScope is unavailable (HTTP 503, ServiceUnavailable)' when 'retry' then 'DashScope is unavailable (HTTP 503, ServiceUnavailable)'
            when 'budget' then 'the app may not be called before then' when 'duplicate' then concat('the same event of ', local_day(s.timezone, j.at), ' is job ', d.id) end,
       j.at, case when j.fate not in ('cancelled', 'duplicate') then j.at + interval '1 second' end,
       case j.fate when 'duplicate' then j.at when 'cancelled' then j.at + interval '2 minutes' when 'retry' then null when 'budget' then null
            else (select max(c.at + c.ms * interval '1 ms') from call c where c.job_id = j.id) end,
       case when j.batch_id is not null then -1 when j.event_type = 'insight.refresh' then 1 else 0 end,
       case when j.fate in ('retry', 'budget') then j.fate end,
       -- More than the daily budget, so that no worker wakes these jobs before run_after.
       case j.fate when 'budget' then (select b.daily_limit + 1 from biz.ai_budgets b where b.site_id = j.site_id) end,
       j.requested_by
from new_job j join biz.sites s on s.id = j.site_id left join new_job d on d.key = j.duplicate_of;

insert into biz.ai_result_failures (site_id, cache_type, target_id, job_id, error_code, failed_at)
select distinct on (c.site_id, c.app, c.target) c.site_id, c.app, c.target, c.job_id, case c.fate when 'upstream' then 'upstream_error' else 'bad_answer' end, c.at + c.ms * interval '1 ms'
from call c
where c.fate in ('upstream', 'bad_answer') and not c.is_good
  and not exists (select from call g where g.is_good and g.site_id = c.site_id and g.app = c.app and g.target = c.target and g.at > c.at)
order by c.site_id, c.app, c.target, c.at desc;

insert into biz.ai_cache (id, site_id, cache_type, target_id, member_id, status, result_json, score, triggered_by, job_id, run_id, business_date, valid_days,
                          created_at, finished_at, expires_at, prompt_version)
overriding system value
select row_number() over (order by c.at, c.id), c.site_id, c.app, c.target, case when c.app not like 'app2%' then c.member_id end,
       case when c.place_from_newest > 1 or e.expires_at <= now() then 'expired'
            when pg_temp.chance('invalidated' || c.call_key) < 0.06 then 'invalidated' else 'valid' end,
       c.result, (c.result ->> 'score')::integer, c.trigger, c.job_id, c.id, local_day(s.timezone, c.at), a.valid_days,
       c.at, c.at + c.ms * interval '1 ms', e.expires_at, a.prompt_version
from (select *, row_number() over (partition by site_id, app, target order by at desc, id desc) as place_from_newest from call where is_good) c
join biz.sites s on s.id = c.site_id
join app a on a.name = c.app
cross join lateral (select case a.valid_days when 0 then (local_day(s.timezone, c.at) + time '23:59:59') at time zone s.timezone
                                             else c.at + c.ms * interval '1 ms' + make_interval(days => a.valid_days) end) e (expires_at);

------------------------------------------------------------------------------------------------
-- Run log

create temp table spent on commit drop as
select t.n as id, t.site_id, t.key as call_key, false as is_job, t.fate, t.at, t.answer as response, t.question as prompt,
       1100 + pg_temp.among('in' || t.key, 0, 1400) as tokens_in, 20 + char_length(t.answer) * 7 / 10 as tokens_out
from turn t
union all
select c.id, c.site_id, c.call_key, true, case when c.is_good then 'success' when c.fate in ('upstream', 'retry') then 'failed' else 'bad_answer' end, c.at,
       case when c.is_good then c.result::text when c.fate not in ('upstream', 'retry') then '抱歉，我无法根据这些数据给出分析。' end,
       concat('根据“事实”完成任务，只输出 JSON：', a.example), (case when c.app like 'app2%' then 6200 else 2300 end) + pg_temp.among('in' || c.call_key, 0, 1800),
       case when c.is_good then char_length(c.result::text) * 7 / 10 else 18 end
from call c join app a on a.name = c.app;
create unique index on spent (id);

-- The charge of a run, as in finish_run. A timeout charges the reservation.
create temp table charge on commit drop as
select s.*, w.is_answered, m.model,
       case when w.is_answered then (s.tokens_in * p.input + s.tokens_out * p.output + 500000) / 1000000
            when s.fate = 'timeout' then null else 0 end as cost
from spent s
cross join lateral (select s.fate in ('success', 'stopped', 'bad_answer')) w (is_answered)
cross join lateral (
    select case when not w.is_answered then null
                when s.is_job then case when c < 0.70 then 'qwen-plus' when c < 0.85 then 'qwen-max' else 'qwen-turbo' end
                else case when c < 0.62 then 'qwen-plus' when c < 0.78 then 'qwen-max' else 'qwen-turbo' end end
    from (select pg_temp.chance('model' || s.call_key)) x (c)
) m (model)
left join lateral (
    select p.input_per_million[1] as input, p.output_per_million[1] as output
    from biz.ai_prices p where p.model = m.model and p.valid_from <= s.at::date order by p.valid_from desc limit 1
) p on true;
create unique index on charge (id);

insert into biz.ai_run_logs (
    id, site_id, user_id, app_type, app_id, trigger_type, member_id, message_id, job_id, conversation_id, bot_id, status, alert_status, prompt_version,
    request_prompt, response_text, tokens_in, tokens_out, tokens_used, tokens_estimated, reserved_tokens, prompt_tokens, tokens_charged, local_day,
    first_token_ms, latency_ms, attempts, upstream_request_id, error_code, error_message, models, model_costs, model_id, finish_reason, cost, created_at, finished_at)
overriding system value
select r.id, r.site_id, r.user_id, r.app, r.app, r.trigger, r.member_id, r.message_id, r.job_id, r.conversation_id, r.bot_id,
       case r.fate when 'bad_answer' then 'failed' else r.fate end,
       case when r.fate not in ('success', 'stopped') then
           case when r.at > now() - interval '3 days' then 'pending' else pg_temp.choice('verdict' || r.call_key, array['pending', 'acknowledged', 'acknowledged', 'ignored']) end end,
       a.prompt_version, r.prompt, r.response,
       u.tokens_in, u.tokens_out, u.tokens_in + u.tokens_out, r.fate = 'timeout', 3000, case when r.is_job then r.tokens_in - 100 else r.tokens_in - 60 end,
       case when r.fate = 'timeout' then 3000 else coalesce(u.tokens_in + u.tokens_out, 0) end,
       local_day(s.timezone, r.at),
       case when not r.is_job and r.fate in ('success', 'stopped') then r.first_ms end, r.ms, case r.fate when 'failed' then 3 else 1 end,
       md5('request' || r.call_key)::uuid::text,
       case r.fate when 'failed' then 'upstream_error' when 'timeout' then 'upstream_timeout' when 'bad_answer' then 'bad_answer' end,
       case r.fate when 'failed' then 'DashScope is unavailable (HTTP 503, ServiceUnavailable)' when 'timeout' then 'DashScope was too slow: no text for 60 s' when 'bad_answer' then 'the answer is not JSON' end,
       case when r.is_answered then jsonb_build_array(jsonb_build_object('model_id', r.model, 'input_tokens', r.tokens_in, 'output_tokens', r.tokens_out)) else '[]' end,
       case when r.is_answered then array[r.cost] else '{}' end, r.model, case when r.fate in ('success', 'bad_answer') then 'stop' end, r.cost,
       r.at, r.at + r.ms * interval '1 ms'
from (
    select c.*, t.user_id, 'app1_chat' as app, case when t.bot_id is null then 'chat' else 'session' end as trigger, null::bigint as member_id,
           2 * t.n as message_id, null::bigint as job_id, t.chat_id as conversation_id, t.bot_id, t.first_ms, t.ms
    from charge c join turn t on t.n = c.id where not c.is_job
    union all
    select c.*, null, k.app, k.trigger, k.member_id, null, k.job_id, null, null, null, k.ms
    from charge c join call k on k.id = c.id where c.is_job
) r
join biz.sites s on s.id = r.site_id
join app a on a.name = r.app
cross join lateral (select case when r.is_answered then r.tokens_in end, case when r.is_answered then r.tokens_out end) u (tokens_in, tokens_out);

-- Refusals: the circuit was open after the failures, and the budget of site 2 was once used up.
insert into biz.ai_run_logs (id, site_id, user_id, app_type, app_id, trigger_type, status, alert_status, prompt_version, local_day, latency_ms, error_code, error_message,
                             refusals, created_at, finished_at)
overriding system value
select (select max(id) from biz.ai_run_logs) + row_number() over (order by r.at, r.user_id), r.site_id, r.user_id, 'app1_chat', 'app1_chat', 'chat', r.status,
       case when r.status = 'circuit_open' and r.place = 1 then case r.ago when 5 then 'acknowledged' else 'pending' end end,
       a.prompt_version, r.day, 0, r.status, null, r.refusals, r.at, r.at + interval '40 seconds'
from (
    select d.site_id, d.day, d.ago, u.user_id, 'circuit_open' as status, u.place, 1 + u.place as refusals,
           (d.day + interval '20 hours 12 minutes' + u.place * interval '70 seconds') at time zone d.timezone as at
    from day d join lateral (select a.user_id, row_number() over (order by a.user_id) as place from asker a where a.site_id = d.site_id) u on true
    where d.ago in (4, 5) and d.site_id = 1
    union all
    select d.site_id, d.day, d.ago, u.user_id, 'budget_exceeded', n, 1 + n % 3,
           (d.day + interval '21 hours 5 minutes' + n * interval '11 minutes') at time zone d.timezone
    from day d join asker u on u.site_id = d.site_id cross join generate_series(1, 5) n
    where d.ago = 12 and d.site_id = 2
) r join app a on a.name = 'app1_chat';

update biz.ai_messages m set tokens_used = r.tokens_used from biz.ai_run_logs r where r.message_id = m.id;

------------------------------------------------------------------------------------------------
-- Counters, from the rows

insert into biz.ai_usage_daily (site_id, day, app_type, calls, successes, failures, tokens, tokens_in, tokens_out, cost, unpriced_calls, rest_tokens, rest_calls,
                                latency_sum_ms, latency_max_ms, latency_buckets, first_token_max_ms, first_token_buckets, latency_histogram, last_status, last_call_at)
select r.site_id, r.local_day, r.app_type, count(*) filter (where r.is_call), count(*) filter (where r.is_good), count(*) filter (where r.is_call and not r.is_good),
       coalesce(sum(r.tokens_charged), 0), coalesce(sum(r.tokens_in), 0), coalesce(sum(r.tokens_out), 0), coalesce(sum(r.cost), 0),
       count(*) filter (where r.is_call and r.cost is null),
       coalesce(sum(greatest(0, r.tokens_used - r.prompt_tokens)) filter (where r.is_good), 0), count(*) filter (where r.is_good),
       sum(r.latency_ms), max(r.latency_ms),
       coalesce(add_up(array_fill(1::bigint, array[1], array[width_bucket(r.latency_ms, b.bounds) + 1])) filter (where r.is_call), '{}'),
       coalesce(max(r.first_token_ms), 0),
       coalesce(add_up(array_fill(1::bigint, array[1], array[width_bucket(r.first_token_ms, b.bounds) + 1])) filter (where r.first_token_ms is not null), '{}'),
       array(select coalesce(cardinality(array_positions(array_agg(latency_bucket(r.latency_ms)) filter (where r.is_call), h)), 0) from generate_series(1, 16) h order by h),
       (array_agg(r.status order by r.finished_at desc, r.id desc))[1], (array_agg(r.created_at order by r.finished_at desc, r.id desc))[1]
from (select *, status not in ('circuit_open', 'budget_exceeded') as is_call, status in ('success', 'stopped') as is_good from biz.ai_run_logs) r
cross join (select latency_bounds() as bounds) b
group by r.site_id, r.local_day, r.app_type;

insert into biz.ai_usage_days (site_id, day, tokens, cost)
select site_id, day, sum(tokens), sum(cost) from biz.ai_usage_daily group by site_id, day;

-- Runs with a model, and the charges of tries whose usage is unknown.
insert into biz.ai_usage_details (site_id, day, user_id, bot_id, model_id, calls, successes, failures, tokens_in, tokens_out, tokens, cost, unpriced_calls)
select site_id, local_day, user_id, bot_id, model_id, count(*), count(*) filter (where status in ('success', 'stopped')),
       count(*) filter (where status not in ('success', 'stopped')), coalesce(sum(tokens_in), 0), coalesce(sum(tokens_out), 0),
       sum(tokens_charged), coalesce(sum(cost), 0), count(*) filter (where cost is null)
from biz.ai_run_logs where status not in ('circuit_open', 'budget_exceeded')
group by site_id, local_day, user_id, bot_id, model_id;

-- The sweep sums up again the days before today.
delete from biz.ai_usage_before;
select sum_up_usage();

update biz.users u set
    listed_conversations = (select count(*) from biz.ai_conversations c where c.user_id = u.id and c.message_count > 0),
    listed_sessions = (select count(*) from biz.ai_conversations c where c.user_id = u.id and c.bot_id is not null);

------------------------------------------------------------------------------------------------
-- What users and admins did

insert into biz.ai_feedback (site_id, user_id, subject_type, subject_id, app_type, prompt_version, run_id, rating, reasons, comment, created_at, updated_at)
select r.site_id, r.user_id, 'message', r.message_id, r.app_type, r.prompt_version, r.id, f.rating,
       case f.rating when 'down' then pg_temp.choice('reason' || r.id, array['{inaccurate}', '{unhelpful}', '{inaccurate,unhelpful}', '{other}'])::text[] else '{}' end,
       case when pg_temp.chance('commented' || r.id) < 0.6 then case f.rating
           when 'down' then pg_temp.choice('comment' || r.id, array['数字和收银系统对不上', '说得太笼统，没法直接用', '会员的常来时段写错了', '话术太生硬，不像平时聊天'])
           else pg_temp.choice('comment' || r.id, array['直接复制就能发，省事', '分析得很到位', '会员回复了，约到周六晚上', '教学步骤很清楚']) end end,
       r.finished_at + interval '2 minutes', r.finished_at + interval '2 minutes'
from biz.ai_run_logs r
cross join lateral (select case when c < 0.13 then 'up' when c < 0.19 then 'down' end from (select pg_temp.chance('rated' || r.id)) x (c)) f (rating)
where r.message_id is not null and r.status = 'success' and f.rating is not null
union all
select c.site_id, case when c.site_id = 2 then 2001 when pg_temp.chance('reader' || c.id) < 0.5 then 1001 else 1003 end, 'insight', c.id, c.cache_type, c.prompt_version, c.run_id, f.rating,
       case f.rating when 'down' then '{unhelpful}'::text[] else '{}' end,
       case f.rating when 'down' then '建议太通用，希望结合这位会员的消费' when 'up' then pg_temp.choice('said' || c.id, array['很有用', '照着做约到了', null]) end,
       c.finished_at + interval '3 hours', c.finished_at + interval '3 hours'
from biz.ai_cache c
cross join lateral (select case when x.c < 0.07 then 'up' when x.c < 0.10 then 'down' end from (select pg_temp.chance('liked' || c.id)) x (c)) f (rating)
where f.rating is not null and c.cache_type not like 'app2%' and c.finished_at < now() - interval '3 hours';

-- Reports: one overdue, one due tomorrow, one resolved, one new.
insert into biz.ai_reports (site_id, user_id, subject_type, subject_id, reason, text, created_at, due_at, resolved_at, resolved_by, answer)
select n.site_id, n.user_id, 'message', m.id, n.reason, n.text, n.at, n.at + interval '15 days',
       n.resolved_at, case when n.resolved_at is not null then 1004 end, case when n.resolved_at is not null then '已核实，3 号台正在维修。我们更新了知识库，感谢反馈。' end
from (values (1::bigint, 1001::bigint, 1, 'inaccurate', '会员余额和前台查到的不一致，差点当面说错。', now() - interval '16 days 4 hours', null::timestamptz, '%余额%'),
             (1, 1003, 2, 'inaccurate', '营收少了一笔包厢订单。', now() - interval '14 days 2 hours', null, '%营收 **%'),
             (1, 1002, 3, 'inaccurate', '3 号台上周就停用了，不能这样回复客人。', now() - interval '9 days', now() - interval '8 days 3 hours', '%3 号台%'),
             (2, 2001, 4, 'privacy', '会员的姓名和到店时段不应该直接列出来。', now() - interval '2 days 5 hours', null, '%| 会员 |%')
     ) n (site_id, user_id, place, reason, text, at, resolved_at, about)
join lateral (
    select a.id from biz.ai_messages a
    where a.site_id = n.site_id and a.user_id = n.user_id and a.role = 'assistant' and a.state = 'complete' and a.created_at < n.at
    order by (a.content like n.about) desc, a.created_at desc, a.id desc limit 1
) m on true;

-- A quota that is nearly used, one with room, and one of a bot.
insert into biz.ai_quotas (site_id, subject_type, subject_id, daily_limit, monthly_limit)
select 1, 'user', '1002', null, greatest(5000, used.monthly * 108 / 100) from quota_use(1, 'user', '1002', site_today(1)) used
union all select 1, 'role', 'coach', 200000, 3000000
union all select 2, 'bot', '00000000-0000-4000-8000-000000000001', 100000, null
on conflict do nothing;

update biz.ai_budgets set monthly_cost_limit = 20000000, updated_by = 1004 where site_id = 1 and monthly_cost_limit is null and updated_by is null;

insert into biz.ai_admin_audit (site_id, user_id, action, object_id, details, created_at)
select * from (
    select r.site_id, case r.site_id when 1 then 1004 else 2004 end::bigint, case r.alert_status when 'ignored' then 'alert.ignore' else 'alert.acknowledge' end, r.id::text,
           jsonb_build_object('before', 'pending', 'after', r.alert_status), r.finished_at + interval '14 hours'
    from biz.ai_run_logs r where r.alert_status in ('acknowledged', 'ignored')
    union all
    select b.site_id, b.created_by, 'batch.estimate', b.id::text,
           jsonb_build_object('app_types', b.app_types, 'members', cardinality(b.member_ids), 'estimated_tokens', b.estimated_tokens), b.created_at
    from biz.ai_batches b
    union all
    select b.site_id, b.created_by, 'batch.confirm', b.id::text,
           jsonb_build_object('jobs', cardinality(b.member_ids), 'estimated_tokens', b.estimated_tokens), b.confirmed_at
    from biz.ai_batches b where b.confirmed_at is not null
    union all
    select b.site_id, b.created_by, 'batch.cancel', b.id::text,
           jsonb_build_object('cancelled', (select count(*) from biz.ai_trigger_jobs j where j.batch_id = b.id and j.status = 'cancelled')), b.cancelled_at
    from biz.ai_batches b where b.cancelled_at is not null
    union all
    select j.site_id, case j.site_id when 1 then 1004 else 2004 end, 'trigger_job.cancel', j.id::text, '{"waits_for": null}', j.finished_at
    from biz.ai_trigger_jobs j where j.status = 'cancelled' and j.batch_id is null
    union all
    select r.site_id, r.resolved_by, 'report.resolve', r.id::text, '{}', r.resolved_at from biz.ai_reports r where r.resolved_at is not null
    union all
    -- After the day on which the budget was used up.
    select u.site_id, 2004, 'budget.set', null,
           jsonb_build_object('before', jsonb_build_object('daily_limit', 1000 * ceil(u.tokens / 1000.0), 'monthly_limit', b.monthly_limit),
                              'after', jsonb_build_object('daily_limit', b.daily_limit, 'monthly_limit', b.monthly_limit)),
           (u.day + 1 + interval '9 hours 40 minutes') at time zone d.timezone
    from biz.ai_usage_days u join day d on d.site_id = u.site_id and d.day = u.day join biz.ai_budgets b on b.site_id = u.site_id
    where u.site_id = 2 and d.ago = 12
    union all
    select 1, 1004, 'budget.set', null,
           jsonb_build_object('before', jsonb_build_object('daily_limit', b.daily_limit, 'monthly_limit', b.monthly_limit, 'monthly_cost_limit', null),
                              'after', jsonb_build_object('daily_limit', b.daily_limit, 'monthly_limit', b.monthly_limit, 'monthly_cost_limit', to_char(b.monthly_cost_limit / 1000000.0, 'FM999990.000000'))),
           now() - interval '3 days 5 hours'
    from biz.ai_budgets b where b.site_id = 1
    union all
    select 1, 1004, 'quota.set', 'user/1002', jsonb_build_object('subject_type', 'user', 'subject_id', '1002', 'before', null, 'after', jsonb_build_object('daily_limit', null, 'monthly_limit', q.monthly_limit)),
           now() - interval '26 hours'
    from biz.ai_quotas q where q.site_id = 1 and q.subject_type = 'user' and q.subject_id = '1002'
) a (site_id, user_id, action, object_id, details, created_at)
order by created_at;

-- The rows above have explicit ids, which the sequences do not know.
select setval(pg_get_serial_sequence('biz.ai_conversations', 'id'), greatest((select max(id) from biz.ai_conversations), nextval(pg_get_serial_sequence('biz.ai_conversations', 'id')))),
       setval(pg_get_serial_sequence('biz.ai_messages', 'id'), greatest((select max(id) from biz.ai_messages), nextval(pg_get_serial_sequence('biz.ai_messages', 'id')))),
       setval(pg_get_serial_sequence('biz.ai_trigger_jobs', 'id'), greatest((select max(id) from biz.ai_trigger_jobs), nextval(pg_get_serial_sequence('biz.ai_trigger_jobs', 'id')))),
       setval(pg_get_serial_sequence('biz.ai_cache', 'id'), greatest((select max(id) from biz.ai_cache), nextval(pg_get_serial_sequence('biz.ai_cache', 'id')))),
       setval(pg_get_serial_sequence('biz.ai_run_logs', 'id'), greatest((select max(id) from biz.ai_run_logs), nextval(pg_get_serial_sequence('biz.ai_run_logs', 'id'))));
