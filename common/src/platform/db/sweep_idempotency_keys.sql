create function sweep_idempotency_keys(p_limit integer default 1000) returns integer language plpgsql as $$
declare
    v_removed integer;
begin
    if not take_sweep_lock() then return 0; end if;
    with old as (
        select conversation_id, key from biz.ai_idempotency_keys
        where created_at < now() - interval '24 hours' order by created_at limit p_limit for update skip locked
    )
    delete from biz.ai_idempotency_keys k using old where k.conversation_id = old.conversation_id and k.key = old.key;
    get diagnostics v_removed = row_count;
    return v_removed;
end $$;

comment on function sweep_idempotency_keys is 'Forgets keys after 24 hours; says how many';
