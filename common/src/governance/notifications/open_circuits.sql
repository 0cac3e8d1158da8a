create function open_circuits() returns setof observed_cause
language plpgsql stable
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
begin
    return query
    select s.id, 'circuit', k.app_id, 'critical',
           jsonb_build_object('app', k.app_type, 'application', right(k.app_id, 4)),
           k.opened_at, k.opened_at, 1::bigint
    from biz.ai_circuits k, biz.sites s
    where k.state <> 'closed' and k.app_id <> '' and k.opened_at is not null
      and exists (select from biz.notification_channels n where n.site_id = s.id and n.enabled)
      -- A run that opened the circuit began at most 30 minutes earlier.
      and exists (
          select from biz.ai_run_logs r
          where r.site_id = s.id and r.alert_status is not null and r.app_id = k.app_id
            and r.created_at >= k.opened_at - interval '30 minutes');
end $$;

comment on function open_circuits is
    'Circuits that are not closed, for each site with an alert of their application';
