create function finalize_generating(
    p_site bigint,
    p_entry bigint,
    p_generation integer,
    p_result jsonb,
    p_score integer,
    p_run bigint,
    p_prompt_version text
) returns boolean language plpgsql as $$
declare
    c biz.ai_cache;
begin
    select * into c from biz.ai_cache
    where id = p_entry and site_id = p_site and generation = p_generation and status = 'generating' for update;
    if not found then
        -- Idempotent: a retry of a stored result returns true.
        return exists (select from biz.ai_cache where id = p_entry and site_id = p_site and run_id = p_run);
    end if;
    update biz.ai_cache set status = 'expired'
    where site_id = p_site and cache_type = c.cache_type and target_id = c.target_id and status = 'valid';
    update biz.ai_cache set
        status = 'valid', result_json = p_result, score = p_score, run_id = p_run,
        prompt_version = p_prompt_version, lease_until = null,
        finished_at = clock_timestamp(),
        -- valid_days is a column of the row, so each result gets an expires_at.
        expires_at = case c.valid_days
            when 0 then (select (local_day(s.timezone, c.created_at) + time '23:59:59') at time zone s.timezone
                         from biz.sites s where s.id = p_site)
            else clock_timestamp() + make_interval(days => c.valid_days) end
    where id = c.id;
    delete from biz.ai_result_failures
    where site_id = p_site and cache_type = c.cache_type and target_id = c.target_id;
    return true;
end $$;

comment on function finalize_generating is
    'Stores a result and expires the previous one. Returns false and changes nothing if the caller '
    'has lost the lease';
