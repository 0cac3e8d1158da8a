create function cancel_batch(p_site bigint, p_user bigint, p_batch uuid) returns cancelled_batch language plpgsql as $$
declare
    r cancelled_batch;
    b biz.ai_batches;
begin
    select * into b from biz.ai_batches where id = p_batch and site_id = p_site for no key update;
    if not found then return r; end if;
    -- What is over stays as it was.
    if batch_status(b) in ('estimated', 'running') then
        update biz.ai_batches set cancelled_at = clock_timestamp() where id = b.id and site_id = p_site returning * into b;
        update biz.ai_trigger_jobs set status = 'cancelled', finished_at = clock_timestamp()
        where batch_id = b.id and site_id = p_site and status = 'pending';
        get diagnostics r.cancelled = row_count;
        perform audit(p_site, p_user, 'batch.cancel', b.id::text, jsonb_build_object('cancelled', r.cancelled));
    else
        select count(*) into r.cancelled from biz.ai_trigger_jobs
        where batch_id = b.id and site_id = p_site and status = 'cancelled';
    end if;
    r.status := batch_status(b);
    return r;
end $$;

comment on function cancel_batch is 'Takes back the jobs of a batch that are not running; the same answer however often it is asked';
