-- Creates the partitions of the run log for the last 3 months, which the generated runs need.
do $$
declare
    v_month date;
begin
    for v_month in
        select (date_trunc('month', now() at time zone 'UTC') - make_interval(months => n))::date from generate_series(1, 3) n
    loop
        continue when to_regclass('biz.ai_run_logs_' || to_char(v_month, 'YYYYMM')) is not null;
        execute format(
            'create table biz.%I partition of biz.ai_run_logs for values from (%L) to (%L)',
            'ai_run_logs_' || to_char(v_month, 'YYYYMM'), v_month::timestamp at time zone 'UTC',
            (v_month + interval '1 month') at time zone 'UTC');
    end loop;
end $$;
