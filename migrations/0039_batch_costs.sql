-- The estimated cost of a batch in yuan, beside its tokens.
set local lock_timeout = '3s';
set local statement_timeout = '120s';

alter table biz.ai_batches add estimated_cost bigint;
comment on column biz.ai_batches.estimated_cost is
    'In millionths of a yuan; null if the cost of an app''s recent calls is not known';
