-- A result is expired if it is past its end, or if Parlor has a valid one of the same target.
insert into biz.ai_cache (
    id, site_id, cache_type, target_id, member_id, status, result_json, score, triggered_by,
    business_date, valid_days, created_at, finished_at, expires_at)
overriding system value
select r.id, r.site_id, r.cache_type, r.target_id, r.member_id,
       case when r.status = 'valid' and (e.expires_at <= clock_timestamp() or exists (
               select from biz.ai_cache v
               where v.site_id = r.site_id and v.cache_type = r.cache_type
                 and v.target_id = r.target_id and v.status = 'valid'))
           then 'expired' else r.status end,
       r.result_json, r.score, r.triggered_by, e.day, r.valid_days, r.created_at, r.created_at,
       e.expires_at
from jsonb_to_recordset($1) as r (
    id bigint, site_id bigint, cache_type text, target_id text, member_id bigint, status text,
    result_json jsonb, score integer, triggered_by text, valid_days integer,
    created_at timestamptz, expires_at timestamptz)
join biz.sites s on s.id = r.site_id
cross join lateral (
    select d.day, coalesce(r.expires_at, case r.valid_days
        when 0 then (d.day + time '23:59:59') at time zone s.timezone
        else r.created_at + make_interval(days => r.valid_days) end) as expires_at
    from (select local_day(s.timezone, r.created_at)) d (day)
) e
