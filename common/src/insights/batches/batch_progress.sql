create function batch_progress(
    b biz.ai_batches, out done bigint, out failed bigint, out cancelled bigint
) language sql stable as $$
    select coalesce(sum(j.step), 0),
           coalesce(sum(cardinality(j.app_chain) - j.step) filter (where j.status = 'failed'), 0),
           coalesce(sum(cardinality(j.app_chain) - j.step) filter (where j.status = 'cancelled'), 0)
    from biz.ai_trigger_jobs j where j.batch_id = b.id and j.site_id = b.site_id
$$;

comment on function batch_progress is
    'Numbers of results of a batch: generated, not generated because of a failure, and cancelled';
