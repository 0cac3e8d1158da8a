select count(*) from generate_series(0, $1::integer) as n
where to_regclass('biz.ai_run_logs_' || to_char(
    date_trunc('month', now() at time zone 'UTC') - make_interval(months => n), 'YYYYMM')) is null
