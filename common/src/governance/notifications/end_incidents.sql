create function end_incidents() returns bigint language plpgsql as $$
declare
    v_ended bigint;
begin
    with states as (
        select i.id,
            -- Quiet for 10 minutes: an application that fails now and then would send a
            -- recovery and a new alert each minute.
            case i.kind
                when 'alert' then i.last_at < now() - interval '10 minutes' and exists (
                    select from biz.ai_usage_daily u
                    where u.site_id = i.site_id and u.app_type = i.details ->> 'app'
                      and u.day >= local_day(zone_of(i.site_id), i.last_at)
                      and u.last_status in ('success', 'stopped') and u.last_call_at > i.last_at)
                when 'circuit' then not exists (
                    select from biz.ai_circuits k
                    where k.app_id = i.cause and k.state <> 'closed' and k.opened_at <= i.last_at)
                else false
            end as recovered,
            case i.kind
                when 'alert' then i.last_at < now() - interval '1 day'
                -- The period is over.
                when 'budget' then i.began_at < now() - interval '32 days'
                when 'report' then not exists (
                    select from biz.ai_reports r
                    where r.id = i.cause::bigint and r.site_id = i.site_id and r.resolved_at is null)
                else false
            end as over
        from biz.notification_incidents i
        where i.ended_at is null
    ), ended as (
        update biz.notification_incidents i set
            ended_at = clock_timestamp(),
            occurrences = case when i.kind = 'alert' then greatest(i.occurrences, (
                select count(*) from (
                    select from unnest(array['pending', 'acknowledged', 'ignored']) v (verdict)
                    cross join lateral (
                        select from biz.ai_run_logs r
                        where r.site_id = i.site_id and r.app_type = i.details ->> 'app'
                          and r.alert_status = v.verdict
                          and r.created_at between i.began_at and i.last_at
                          and r.status = i.details ->> 'status'
                          and r.error_code is not distinct from i.details ->> 'error_code'
                        limit 1000
                    ) r
                    limit 1000
                ) few)) else i.occurrences end
        from states s
        where i.id = s.id and i.ended_at is null and (s.recovered or s.over)
        returning i.id, i.site_id, s.recovered
    ), queued as (
        insert into biz.notification_deliveries (site_id, channel_id, incident_id, event)
        select e.site_id, d.channel_id, e.id, 'recovered'
        from ended e
        join biz.notification_deliveries d on d.incident_id = e.id and d.event = 'opened'
        join biz.notification_channels n on n.id = d.channel_id
        where e.recovered and n.enabled and n.url is not null and d.state in ('sent', 'pending')
    )
    select count(*) into v_ended from ended;
    return v_ended;
end $$;

comment on function end_incidents is
    'Ends incidents. Alerts and circuits that recovered get a delivery for each channel that got '
    'the opening. Without a call, an alert ends silently after a day. Returns how many ended';
