-- Finds the runs of a user, newest day first, for the user's own usage.
create index ai_run_logs_user_idx on biz.ai_run_logs (user_id, local_day desc)
    where user_id is not null;
