-- Latency and time to first token in narrow buckets, each with a maximum.
--
-- The previous release keeps writing and reading latency_histogram. This release writes both.
set local lock_timeout = '3s';
set local statement_timeout = '120s';

create domain biz.latency_buckets as bigint[]
    constraint latency_buckets_in_range check (
        array_lower(value, 1) >= 1 and array_upper(value, 1) <= 86);
comment on domain biz.latency_buckets is
    'Number of ended runs by bucket; see function latency_bounds. A missing or null element is 0. '
    'A run extends the array to its bucket, so that most rows are short';

alter table biz.ai_usage_daily
    add column latency_max_ms bigint not null default 0,
    add column latency_buckets biz.latency_buckets not null default '{}',
    add column first_token_max_ms bigint not null default 0,
    add column first_token_buckets biz.latency_buckets not null default '{}';
comment on column biz.ai_usage_daily.latency_max_ms is
    'The slowest run. In rows that are older than this column, a lower bound of it';
comment on column biz.ai_usage_daily.first_token_max_ms is
    'The longest time to the first token';
comment on column biz.ai_usage_daily.first_token_buckets is
    'Of runs that are chats and produced text; empty in rows that are older than this column';

-- Runs of an old bucket get the harmonic mean of its bounds, which has the smallest possible error.
-- It is 50 ms for the first bucket, and 60 s for the last one, which has no upper bound. The
-- maximum is a lower bound, so that no percentile exceeds the slowest run.
with old_bucket (place, lower_ms, new_place) as (
    values (1, 0, 22), (2, 100, 29), (3, 200, 33), (4, 300, 36), (5, 500, 40), (6, 750, 42),
           (7, 1000, 45), (8, 1500, 47), (9, 2000, 50), (10, 3000, 53), (11, 5000, 56),
           (12, 7500, 59), (13, 10000, 61), (14, 15000, 65), (15, 30000, 70), (16, 60000, 73)
), converted as (
    select u.site_id, u.day, u.app_type,
           greatest(
               max(o.lower_ms) filter (where h.runs > 0),
               ceil(u.latency_sum_ms / sum(h.runs))) as max_ms,
           (select array_agg(nullif(a.runs, 0) order by n.place) from generate_series(1, 86) n (place)
               left join old_bucket b on b.new_place = n.place
               left join unnest(u.latency_histogram) with ordinality a (runs, place)
                   on a.place = b.place
           ) as buckets
    from biz.ai_usage_daily u
    cross join unnest(u.latency_histogram) with ordinality h (runs, place)
    join old_bucket o on o.place = h.place
    group by u.site_id, u.day, u.app_type
    having sum(h.runs) > 0
)
update biz.ai_usage_daily u set latency_max_ms = c.max_ms, latency_buckets = c.buckets
from converted c
where c.site_id = u.site_id and c.day = u.day and c.app_type = u.app_type;
