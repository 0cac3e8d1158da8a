-- An alert, or all pending ones of its cause, at most p_most. Found rows are locked in one order, so that two who do the same
-- wait for each other, and the second finds nothing left to do.
create function settle_alert(
    p_site bigint,
    p_user bigint,
    p_run bigint,
    p_alert_status text,
    p_action text,
    p_group boolean,
    p_most integer,
    out is_alert boolean,
    out affected bigint
) language plpgsql as $$
declare
    l biz.ai_run_logs;
begin
    select * into l from biz.ai_run_logs where site_id = p_site and id = p_run and alert_status is not null;
    is_alert := found;
    if not found then return; end if;

    with cause as materialized (
        select l.id, l.created_at
        union
        (select r.id, r.created_at from biz.ai_run_logs r
         where p_group and r.site_id = p_site and r.app_type = l.app_type and r.alert_status = 'pending'
           and r.status = l.status and r.error_code is not distinct from l.error_code
         order by r.created_at desc, r.id desc limit p_most)
    ), chosen as materialized (
        -- Looked at once more under its lock, for somebody else may have settled it meanwhile.
        select r.id, r.created_at from cause c join biz.ai_run_logs r on r.id = c.id and r.created_at = c.created_at
        where r.site_id = p_site and (r.alert_status = 'pending' or r.id = p_run and r.alert_status <> p_alert_status)
        order by r.id for no key update of r
    ), settled as (
        update biz.ai_run_logs r set alert_status = p_alert_status from chosen c
        where r.id = c.id and r.created_at = c.created_at and r.site_id = p_site
        returning r.id
    )
    select count(*) into affected from settled;

    if affected > 0 then
        perform audit(p_site, p_user, p_action, p_run::text, jsonb_build_object(
            'group', p_group, 'affected', affected, 'app_type', l.app_type, 'status', l.status, 'error_code', l.error_code));
    end if;
end $$;

comment on function settle_alert is
    'Marks an alert, or also the pending ones of its cause, as seen; is_alert is false where this site has no such alert';
