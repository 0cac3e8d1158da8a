create function audit(p_site bigint, p_user bigint, p_action text, p_object text, p_details jsonb) returns void
language sql as $$
    insert into biz.ai_admin_audit (site_id, user_id, action, object_id, details)
    values (p_site, p_user, p_action, p_object, p_details)
$$;

comment on function audit is 'Leaves a row of what an admin changed';
