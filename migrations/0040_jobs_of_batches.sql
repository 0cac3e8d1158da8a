-- Lists the jobs of a batch, newest first, for each status. Before, a page sorted all jobs of the
-- batch. A change of the status writes all indexes of a job anyway.
set local lock_timeout = '3s';
set local statement_timeout = '600s';

create index ai_trigger_jobs_of_batch_idx
    on biz.ai_trigger_jobs (batch_id, status, created_at desc, id desc)
    where batch_id is not null;
drop index biz.ai_trigger_jobs_batch_idx;
