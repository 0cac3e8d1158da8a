create function confirm_batch(p_site bigint, p_user bigint, p_batch uuid) returns confirmed_batch language plpgsql as $$
declare
    r confirmed_batch;
    b biz.ai_batches;
begin
    select * into b from biz.ai_batches where id = p_batch and site_id = p_site for no key update;
    r.outcome := case
        when b.id is null then 'not_found'
        when b.confirmed_at is not null then 'confirmed_before'
        when b.cancelled_at is not null then 'cancelled'
        when b.expires_at <= clock_timestamp() then 'expired'
        when b.estimated_tokens > tokens_left(p_site) then 'over_budget'
        else 'confirmed' end;
    if r.outcome <> 'confirmed' then return r; end if;
    update biz.ai_batches set confirmed_at = clock_timestamp() where id = b.id and site_id = p_site;
    -- After whatever else the site has to do, for nobody waits for it.
    insert into biz.ai_trigger_jobs (site_id, event_type, connector_type, trigger_type, member_id, app_chain, is_forced, batch_id, urgency)
    select p_site, 'batch', 'batch', 'batch', m.id, b.app_types, true, b.id, -1
    from unnest(b.member_ids) with ordinality m (id, place) order by m.place;
    get diagnostics r.jobs = row_count;
    perform audit(p_site, p_user, 'batch.confirm', b.id::text, jsonb_build_object('jobs', r.jobs, 'estimated_tokens', b.estimated_tokens));
    return r;
end $$;

comment on function confirm_batch is 'Queues the jobs of an estimate, one for each member, once';
