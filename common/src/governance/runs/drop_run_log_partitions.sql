-- Runs as the owner of the table: the role of the Lambda functions may not create or drop tables.
create function drop_run_log_partitions(p_keep_days integer) returns integer
language plpgsql security definer set search_path from current set lock_timeout = '500ms' as $$
declare
    v_oldest text;
begin
    if not take_sweep_lock() then return 0; end if;
    -- One partition per call is enough: only one month expires per month.
    select c.relname into v_oldest
    from pg_catalog.pg_inherits i
    join pg_catalog.pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'biz.ai_run_logs'::regclass and c.relname ~ '^ai_run_logs_[0-9]{6}$'
      and (to_date(right(c.relname, 6), 'YYYYMM') + interval '1 month') at time zone 'UTC'
          <= now() - make_interval(days => p_keep_days)
    order by c.relname limit 1;
    if v_oldest is null then return 0; end if;
    execute format('drop table biz.%I', v_oldest);
    return 1;
exception
    when lock_not_available then return 0;
end $$;

comment on function drop_run_log_partitions is
    'Drops the oldest partition if all its runs are older than p_keep_days. Returns the number dropped, 0 or 1';
