create function open_incidents(p_apps text[]) returns bigint language plpgsql as $$
declare
    v_opened bigint;
begin
    -- Unique keys make an incident single. The lock avoids that two functions update the same rows
    -- in another order.
    if not pg_try_advisory_xact_lock(hashtextextended('parlor/notify', 0)) then
        return 0;
    end if;
    with observed as materialized (
        select * from failing_causes(p_apps)
        union all select * from open_circuits()
        union all select * from used_budgets()
        union all select * from overdue_reports()
    ), continued as (
        update biz.notification_incidents i set last_at = o.last_at
        from observed o
        where i.site_id = o.site_id and i.kind = o.kind and i.cause = o.cause
          and i.ended_at is null and i.kind = 'alert' and i.last_at < o.last_at
    ), opened as (
        insert into biz.notification_incidents (
            site_id, kind, cause, level, details, began_at, last_at, occurrences)
        select o.site_id, o.kind, o.cause, o.level, o.details, o.began_at, o.last_at, o.occurrences
        from observed o
        where not exists (
            select from biz.notification_incidents i
            where i.site_id = o.site_id and i.kind = o.kind and i.cause = o.cause
              and i.last_at >= o.last_at)
        on conflict (site_id, kind, cause) where ended_at is null do nothing
        returning id, site_id, level
    ), queued as (
        insert into biz.notification_deliveries (site_id, channel_id, incident_id, event)
        select o.site_id, n.id, o.id, 'opened'
        from opened o join biz.notification_channels n on n.site_id = o.site_id
        where n.enabled and n.url is not null
          and level_rank(n.level::text) <= level_rank(o.level::text)
        -- With an hourly cap, the most urgent ones are sent.
        order by level_rank(o.level::text) desc, o.id
    )
    select count(*) into v_opened from opened;
    return v_opened;
end $$;

comment on function open_incidents is
    'Stores new causes as incidents, and a delivery for each channel of the site whose level they '
    'reach. Returns the number of new incidents; 0 if another function does the same now';
