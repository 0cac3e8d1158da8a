-- Users read their own usage from biz.ai_usage_details, so no statement needs this index.
set local lock_timeout = '3s';
drop index biz.ai_run_logs_user_idx;
