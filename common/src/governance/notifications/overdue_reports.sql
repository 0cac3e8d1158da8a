create function overdue_reports() returns setof observed_cause
language plpgsql stable
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
begin
    return query
    select r.site_id, 'report', r.id::text, 'warning',
           jsonb_build_object('report_id', r.id, 'reason', r.reason::text),
           r.due_at, r.due_at, 1::bigint
    from biz.sites s cross join lateral (
        select * from biz.ai_reports r
        where r.site_id = s.id and r.resolved_at is null and r.due_at < now()
          and not exists (
              select from biz.notification_incidents i
              where i.site_id = s.id and i.kind = 'report' and i.cause = r.id::text)
        order by r.due_at limit 100
    ) r
    where exists (select from biz.notification_channels n where n.site_id = s.id and n.enabled);
end $$;

comment on function overdue_reports is
    'Reports that no admin answered in time and that are no incident yet, at most 100 per site';
