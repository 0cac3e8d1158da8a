-- A job, its retries and theirs are one piece of work, which is done by one of them at a time. The first of
-- them is locked, so that two who ask at once are one after the other, whichever of them they name.
create function retry_job(p_site bigint, p_user bigint, p_job bigint) returns retried_job language plpgsql as $$
declare
    r retried_job;
    j biz.ai_trigger_jobs;
    v_first bigint;
begin
    with recursive earlier (id, retry_of) as (
        select o.id, o.retry_of from biz.ai_trigger_jobs o where o.id = p_job and o.site_id = p_site
        union all
        select o.id, o.retry_of from earlier e join biz.ai_trigger_jobs o on o.id = e.retry_of and o.site_id = p_site
    )
    select e.id into v_first from earlier e where e.retry_of is null;
    perform from biz.ai_trigger_jobs where id = v_first and site_id = p_site for no key update;
    if not found then r.outcome := 'not_found'; return r; end if;

    select * into j from biz.ai_trigger_jobs where id = p_job and site_id = p_site;
    -- Its reply, or the message that there is none, is part of a conversation that may have gone on since: a
    -- second one would stand in the wrong place, and tell the bot's own session what it knows in another
    -- order. Who wrote the message sends it again.
    if j.message_id is not null then r.outcome := 'answered'; return r; end if;
    if exists (
        with recursive family (id, status) as (
            select o.id, o.status from biz.ai_trigger_jobs o where o.id = v_first and o.site_id = p_site
            union all
            select o.id, o.status from family f join biz.ai_trigger_jobs o on o.retry_of = f.id and o.site_id = p_site
        )
        select from family where status in ('pending', 'running'))
    then
        r.outcome := 'under_way';
        return r;
    end if;

    -- The apps before that step are not asked again while what they said holds: see advance_job.
    insert into biz.ai_trigger_jobs (site_id, event_type, connector_type, trigger_type, member_id, payload, app_chain, step, is_forced, retry_of)
    values (p_site, j.event_type, 'admin_api', 'manual', j.member_id, j.payload, j.app_chain,
            case j.status when 'failed' then j.step else 0 end, true, j.id)
    returning id, step into r.id, j.step;
    perform audit(p_site, p_user, 'trigger_job.retry', p_job::text, jsonb_build_object('id', r.id, 'step', j.step));
    r.outcome := 'retried';
    return r;
end $$;

comment on function retry_job is 'Queues a job anew from the step that failed, unless it is under way';
