create function retry_after(l biz.ai_run_logs) returns integer language sql immutable as $$
    select ceil(extract(epoch from l.finished_at - l.created_at))::integer
$$;

comment on function retry_after is 'Seconds until a rejected run may be retried';
