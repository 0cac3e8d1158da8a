create function invalidate_cache(p_site bigint, p_user bigint, p_action text, p_cache_type text, p_member bigint) returns bigint
language plpgsql set plan_cache_mode = force_custom_plan as $$
declare
    v_affected bigint;
begin
    perform 1 from biz.sites where id = p_site;
    if not found then return null; end if;
    -- What is just being made was asked with what was known before: its generator loses its lease.
    update biz.ai_cache set generation = generation + 1, lease_until = '-infinity'
    where site_id = p_site and status = 'generating'
      and (p_cache_type is null or cache_type = p_cache_type) and (p_member is null or member_id = p_member);
    update biz.ai_cache set status = 'invalidated'
    where site_id = p_site and status = 'valid'
      and (p_cache_type is null or cache_type = p_cache_type) and (p_member is null or member_id = p_member);
    get diagnostics v_affected = row_count;
    perform audit(p_site, p_user, p_action, null,
                      jsonb_build_object('app_type', p_cache_type, 'member_id', p_member, 'affected', v_affected));
    return v_affected;
end $$;

comment on function invalidate_cache is
    'Says of results of an app, about a member, or both, or of all of a site that they no longer hold: how many. Null where there is no such site';
