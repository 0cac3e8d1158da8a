-- Finds the result that a run made, for the page of a run. The result of a run never changes its
-- run, so the index costs one entry per result.
set local lock_timeout = '3s';
set local statement_timeout = '600s';

create index ai_cache_run_idx on biz.ai_cache (run_id) where run_id is not null;
