-- The estimated cost of a batch in yuan, beside its tokens. An index for feedback of one user.
set local lock_timeout = '3s';
set local statement_timeout = '600s';

alter table biz.ai_batches add estimated_cost bigint;
comment on column biz.ai_batches.estimated_cost is
    'In millionths of a yuan; null if the cost of an app''s recent calls is not known';

-- Feedback is also filtered by user, so the index of its list has the user, too. Otherwise the
-- total reads up to 10,000 rows of the table.
create index ai_feedback_list_idx on biz.ai_feedback (site_id, created_at desc, id desc)
    include (app_type, prompt_version, rating, user_id);
drop index biz.ai_feedback_site_idx;
