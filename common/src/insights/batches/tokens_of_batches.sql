create function tokens_of_batches(p_site bigint) returns bigint language sql stable as $$
    select coalesce(sum(ceil(
        b.estimated_tokens::numeric * waiting.calls / b.estimated_calls)), 0)::bigint
    from (
        select j.batch_id, sum(cardinality(j.app_chain) - j.step) as calls
        from biz.ai_trigger_jobs j
        where j.site_id = p_site and j.event_type = 'batch' and j.status in ('pending', 'running')
        group by j.batch_id
    ) waiting
    join biz.ai_batches b on b.id = waiting.batch_id
$$;

comment on function tokens_of_batches is
    'Estimated tokens of the calls that a site''s confirmed batches have still to make';
