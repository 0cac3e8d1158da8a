-- What a run is charged, which is no longer either its usage or its reservation: of several tries,
-- some report their usage and some do not.

alter table biz.ai_run_logs add column tokens_charged bigint;
comment on column biz.ai_run_logs.tokens_charged is
    'Charged to the budget: the reported tokens, and the reservation for each try of unknown usage; '
    'null while the run is running and in older rows';
comment on column biz.ai_run_logs.tokens_used is
    'Reported by DashScope for all tries together; null if it reported nothing';
comment on column biz.ai_run_logs.tokens_estimated is
    'True if the usage of a try is unknown; then the reserved tokens are charged for it';
comment on column biz.ai_run_logs.alert_status is
    'Only for runs that failed, timed out, were refused by an open circuit, or have implausible usage';
