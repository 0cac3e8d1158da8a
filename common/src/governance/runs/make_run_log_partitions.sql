-- Creates a table and attaches it, instead of creating a partition directly. So runs can be written
-- at the same time. Runs of the month that are in the default partition are moved.
-- Runs as the owner of the table: the role of the Lambda functions may not create or drop tables.
create function make_run_log_partitions(
    months_ahead integer default 2, months_back integer default 0
) returns integer language plpgsql security definer set search_path from current set lock_timeout = '500ms' as $$
declare
    v_month date;
    v_name text;
    v_from timestamptz;
    v_to timestamptz;
    v_made integer := 0;
begin
    if not take_sweep_lock() then return 0; end if;
    for v_month in
        select (date_trunc('month', now() at time zone 'UTC') + make_interval(months => n))::date
        from generate_series(-months_back, months_ahead) as n
    loop
        v_name := 'ai_run_logs_' || to_char(v_month, 'YYYYMM');
        continue when to_regclass('biz.' || v_name) is not null;
        v_from := v_month::timestamp at time zone 'UTC';
        v_to := (v_month + interval '1 month') at time zone 'UTC';
        execute format('create table biz.%I (like biz.ai_run_logs including defaults including constraints)', v_name);
        execute format(
            'with moved as (delete from biz.ai_run_logs_default where created_at >= %L and created_at < %L returning *)
             insert into biz.%I select * from moved', v_from, v_to, v_name);
        execute format('alter table biz.ai_run_logs attach partition biz.%I for values from (%L) to (%L)', v_name, v_from, v_to);
        v_made := v_made + 1;
    end loop;
    return v_made;
exception
    -- Another transaction holds a lock for long. The next sweep, in a minute, tries again.
    when lock_not_available then return 0;
end $$;

comment on function make_run_log_partitions is
    'Creates the partitions of this month, of the months ahead, and of earlier months. Returns how '
    'many were missing';
