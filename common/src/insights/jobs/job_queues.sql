-- The start of the query that claims jobs and of the one that measures the age of the queue.
create view job_queues as
with recursive queues (site_id, urgency) as (
    (select j.site_id, j.urgency from biz.ai_trigger_jobs j where j.status = 'pending' order by j.site_id, j.urgency desc limit 1)
    union all
    select next.site_id, next.urgency from queues q cross join lateral (
        (select j.site_id, j.urgency from biz.ai_trigger_jobs j
         where j.status = 'pending' and j.site_id = q.site_id and j.urgency < q.urgency order by j.urgency desc limit 1)
        union all
        (select j.site_id, j.urgency from biz.ai_trigger_jobs j
         where j.status = 'pending' and j.site_id > q.site_id order by j.site_id, j.urgency desc limit 1)
        order by site_id limit 1
    ) next
)
select site_id, urgency from queues;

comment on view job_queues is
    'Each site and urgency with pending jobs. Reads one index entry per row of the result, however '
    'many jobs there are';
