create function sweep_cache(p_limit integer default 1000) returns table (leases integer, expired integer, removed integer)
language plpgsql as $$
declare
    s biz.ai_cache_sizes;
begin
    leases := 0; expired := 0; removed := 0;
    if not take_sweep_lock() then return next; return; end if;
    -- Lists of ids, so that the table is reached by its key whatever the planner thinks of the limit.
    delete from biz.ai_cache where id = any (array(
        select id from biz.ai_cache where status = 'generating' and lease_until < now()
        order by lease_until limit p_limit for update skip locked));
    get diagnostics leases = row_count;
    update biz.ai_cache set status = 'expired' where id = any (array(
        select id from biz.ai_cache where status = 'valid' and expires_at <= now()
        order by expires_at limit p_limit for update skip locked));
    get diagnostics expired = row_count;
    select * into s from biz.ai_cache_sizes where entries > 20000 order by entries desc limit 1;
    if found then
        delete from biz.ai_cache where id = any (array(
            select id from biz.ai_cache where site_id = s.site_id and cache_type = s.cache_type
            order by id limit least(p_limit, s.entries - 20000)));
        get diagnostics removed = row_count;
    end if;
    return next;
end $$;

comment on function sweep_cache is
    'Releases dead leases, marks what has expired, and takes away the oldest of who has more than 20,000 entries';
