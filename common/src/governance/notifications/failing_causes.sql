create type observed_cause as (
    site_id bigint,
    kind text,
    cause text,
    level text,
    details jsonb,
    began_at timestamptz,
    last_at timestamptz,
    occurrences bigint
);

comment on type observed_cause is 'A cause of a notification, with the columns of an incident';

create function failing_causes(p_apps text[]) returns setof observed_cause
language plpgsql stable
set enable_seqscan = off set enable_bitmapscan = off set jit = off
set plan_cache_mode = force_generic_plan as $$
begin
    return query
    select s.id, 'alert', c.cause,
           -- Implausible usage is the only alert of a run that succeeded.
           case when min(c.status) in ('failed', 'timeout') then 'warning' else 'info' end,
           jsonb_build_object(
               'app', a.app, 'status', min(c.status), 'error_code', min(c.error_code)),
           min(c.created_at), max(c.created_at), count(*)
    from biz.sites s cross join unnest(p_apps) a (app) cross join lateral (
        select r.status::text as status, r.error_code, r.created_at,
               concat_ws('/', a.app, r.status, r.error_code) as cause
        from biz.ai_run_logs r
        where r.site_id = s.id and r.app_type = a.app and r.alert_status = 'pending'
          and r.created_at >= now() - interval '1 hour'
        order by r.created_at desc, r.id desc limit 1000
    ) c
    where exists (
            select from biz.notification_channels n where n.site_id = s.id and n.enabled)
      -- The incident of the circuit says the same.
      and c.status <> 'circuit_open'
      and not exists (
            select from biz.notification_incidents i
            where i.site_id = s.id and i.kind = 'alert' and i.cause = c.cause
              and i.ended_at is not null and i.last_at >= c.created_at)
    group by s.id, a.app, c.cause;
end $$;

comment on function failing_causes is
    'Pending alerts of the last hour by site, app, status and error code, without those of ended '
    'incidents. Reads at most 1,000 per site and app';
