create function batch_status(b biz.ai_batches) returns text language sql stable as $$
    select case
        when b.cancelled_at is not null then 'cancelled'
        when b.confirmed_at is not null then case when exists (
            select from biz.ai_trigger_jobs j
            where j.batch_id = b.id and j.site_id = b.site_id and j.status in ('pending', 'running')) then 'running' else 'done' end
        when b.expires_at <= clock_timestamp() then 'expired'
        else 'estimated' end
$$;

comment on function batch_status is 'estimated, expired, running, done or cancelled';
