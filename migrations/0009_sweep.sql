-- What the sweep does each minute. Every step takes the same advisory lock for its own short
-- transaction: two sweeps never work at once, and none waits for another.
create function biz.take_sweep_lock() returns boolean language sql as $$
    select pg_try_advisory_xact_lock(hashtextextended('parlor/sweep', 0))
$$;
comment on function biz.take_sweep_lock is 'Whether the caller''s transaction is the one that sweeps';

create function biz.end_dead_reply(p_message bigint) returns boolean language plpgsql as $$
declare
    m biz.ai_messages;
    l biz.ai_run_logs;
begin
    -- One that is locked is just being ended by somebody else, or is not dead after all.
    select * into m from biz.ai_messages
    where id = p_message and state = 'streaming' and lease_until < clock_timestamp() for no key update skip locked;
    if not found then return false; end if;
    select * into l from biz.ai_run_logs
    where message_id = m.id and site_id = m.site_id and status = 'running' and created_at >= m.created_at;
    return (biz.finish_reply(
        p_site => m.site_id, p_message => m.id, p_run => l.id, p_run_at => l.created_at,
        p_state => case m.content when '' then 'failed' else 'interrupted' end, p_run_status => 'failed',
        p_saved_chars => char_length(m.content), p_unsaved => '',
        p_tokens_in => null, p_tokens_out => null, p_charge_unknown => true,
        p_session_id => null, p_session_lost => false, p_prompt => null, p_prompt_version => l.prompt_version,
        p_first_token_ms => null,
        p_latency_ms => (extract(epoch from clock_timestamp() - m.created_at) * 1000)::bigint,
        p_attempts => l.attempts, p_upstream_request_id => null,
        p_error_code => 'interrupted', p_error_message => 'whoever made the reply died',
        p_circuit => 'neither')).applied;
end $$;
comment on function biz.end_dead_reply is
    'Ends a reply whose lease has run out: what was said is kept, the run is settled. False where it is alive or ended';

create or replace function biz.sweep_replies(p_limit integer default 200) returns integer
language plpgsql as $$
declare
    v_message bigint;
    v_ended integer := 0;
begin
    if not biz.take_sweep_lock() then return 0; end if;
    for v_message in
        select m.id from biz.ai_messages m
        where m.state = 'streaming' and m.lease_until < now()
        order by m.lease_until limit p_limit
    loop
        v_ended := v_ended + biz.end_dead_reply(v_message)::integer;
    end loop;
    return v_ended;
end $$;

-- Attached rather than made in place: that lets runs be written meanwhile. Runs that were put
-- into the default partition before their month had its own are moved.
create or replace function biz.make_run_log_partitions(months_ahead integer default 2) returns integer
language plpgsql set lock_timeout = '500ms' as $$
declare
    v_month date;
    v_name text;
    v_from timestamptz;
    v_to timestamptz;
    v_made integer := 0;
begin
    if not biz.take_sweep_lock() then return 0; end if;
    for v_month in
        select (date_trunc('month', now() at time zone 'UTC') + make_interval(months => n))::date
        from generate_series(0, months_ahead) as n
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
    -- Somebody reads or writes at length. In a minute the sweep comes again.
    when lock_not_available then return 0;
end $$;

create function biz.drop_run_log_partitions(p_keep_days integer) returns integer
language plpgsql set lock_timeout = '500ms' as $$
declare
    v_oldest text;
begin
    if not biz.take_sweep_lock() then return 0; end if;
    -- One a run is plenty: a month grows old once a month.
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
comment on function biz.drop_run_log_partitions is
    'Drops the oldest month of which every run is older than so many days; says how many it dropped';
