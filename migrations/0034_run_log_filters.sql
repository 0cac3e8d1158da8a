-- Indexes for the filters of the run log. The columns of the order have no nulls to be sorted last.
-- But no other index has this order, so the planner has no choice in walk_runs. A prompt version
-- and a latency have no index, because each one costs 1 to 2 % of the begin and end of a run.
set local lock_timeout = '3s';
set local statement_timeout = '600s';

create index ai_run_logs_error_idx on biz.ai_run_logs
    (site_id, error_code, created_at desc nulls last, id desc nulls last)
    where error_code is not null;
create index ai_run_logs_member_idx on biz.ai_run_logs
    (site_id, member_id, created_at desc nulls last, id desc nulls last)
    where member_id is not null;
create index ai_run_logs_user_idx on biz.ai_run_logs
    (site_id, user_id, created_at desc nulls last, id desc nulls last)
    where user_id is not null;
create index ai_run_logs_bot_idx on biz.ai_run_logs
    (site_id, bot_id, created_at desc nulls last, id desc nulls last)
    where bot_id is not null;
create index ai_run_logs_model_idx on biz.ai_run_logs
    (site_id, model_id, created_at desc nulls last, id desc nulls last)
    where model_id is not null;
