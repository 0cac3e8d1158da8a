create function sweep_batches(p_limit integer default 1000) returns integer language plpgsql as $$
declare
    v_removed integer;
begin
    if not take_sweep_lock() then return 0; end if;
    delete from biz.ai_batches where id = any (array(
        select id from biz.ai_batches where confirmed_at is null and expires_at < now() - interval '1 day'
        order by expires_at limit p_limit for update skip locked));
    get diagnostics v_removed = row_count;
    return v_removed;
end $$;

comment on function sweep_batches is 'Forgets estimates that nobody confirmed, a day after they expired; says how many';
