create type enqueued_job as (
    id bigint,
    status text
);

comment on type enqueued_job is
    'Id and status of a job, pending or skipped_duplicate; nulls if there is no such site';

create function enqueue_job(
    p_site bigint,
    p_event text,
    p_event_id text,
    p_connector text,
    p_trigger text,
    p_member bigint,
    p_payload jsonb,
    p_chain text[],
    p_subject text,
    p_forced boolean
) returns enqueued_job language plpgsql as $$
declare
    r enqueued_job;
    v_today date := site_today(p_site);
    v_key text := concat_ws('/', v_today, p_event, coalesce(p_member::text, '-'), p_subject);
    v_first bigint;
begin
    if v_today is null then return r; end if;
    insert into biz.ai_trigger_jobs (site_id, event_type, event_id, connector_type, trigger_type, member_id, payload, app_chain, is_forced, dedup_key)
    values (p_site, p_event, p_event_id, p_connector, p_trigger, p_member, p_payload, p_chain, p_forced, v_key)
    on conflict do nothing
    returning id, status into r.id, r.status;
    if found then return r; end if;

    select j.id, j.status into r.id, r.status from biz.ai_trigger_jobs j where j.site_id = p_site and j.event_id = p_event_id;
    if found then return r; end if;

    select j.id into v_first from biz.ai_trigger_jobs j
    where j.site_id = p_site and j.dedup_key = v_key
      and not j.is_forced and (j.status in ('pending', 'running') or (j.status = 'succeeded' and j.event_type <> 'prewarm'));
    insert into biz.ai_trigger_jobs as j (site_id, event_type, event_id, connector_type, trigger_type, member_id, payload, app_chain, dedup_key,
                                          status, duplicate_of, error_message, finished_at)
    values (p_site, p_event, p_event_id, p_connector, p_trigger, p_member, p_payload, p_chain, v_key,
            'skipped_duplicate', v_first, concat('the same event of ', v_today, ' is job ', v_first), now())
    -- A concurrent delivery of the same event has inserted the row.
    on conflict (site_id, event_id) do update set event_id = j.event_id
    returning id, status into r.id, r.status;
    return r;
end $$;

comment on function enqueue_job is
    'Queues the job of an event. A repetition on the same business date is stored as '
    'skipped_duplicate, unless it is forced';
