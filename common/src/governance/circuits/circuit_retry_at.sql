create function circuit_retry_at(p_app_id text) returns timestamptz language sql volatile as $$
    select k.retry_at from biz.ai_circuits k
    where k.app_id = p_app_id and k.state <> 'closed' and k.retry_at > clock_timestamp()
$$;

comment on function circuit_retry_at is
    'When the next probe may begin, or null if a call may begin now. Changes nothing';
