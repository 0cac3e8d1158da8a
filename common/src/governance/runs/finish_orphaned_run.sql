create function finish_orphaned_run(l biz.ai_run_logs) returns void language plpgsql as $$
declare
    e run_end;
begin
    e.status := 'failed';
    e.unknown_tries := 1;
    e.latency_ms := (extract(epoch from clock_timestamp() - l.created_at) * 1000)::bigint;
    e.attempts := l.attempts;
    e.error_code := 'interrupted';
    e.error_message := 'the function that made the call was killed';
    e.circuit := 'neither';
    perform finish_run(l.site_id, l.id, l.created_at, e);
end $$;

comment on function finish_orphaned_run is
    'Ends a run whose function was killed. Charges its reservation, because the call may have cost tokens';
