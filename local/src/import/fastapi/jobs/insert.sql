insert into biz.ai_trigger_jobs (
    id, site_id, event_type, connector_type, trigger_type, member_id, payload, app_chain, step,
    is_forced, status, attempts, run_after, error_message, created_at, started_at, finished_at)
overriding system value
select j.id, j.site_id, j.event_type, j.connector_type, j.trigger_type, j.member_id, j.payload,
       array(select jsonb_array_elements_text(j.app_chain)), j.step, j.is_forced, j.status, 1,
       j.created_at, j.error_message, j.created_at, j.started_at, j.finished_at
from jsonb_to_recordset($1) as j (
    id bigint, site_id bigint, event_type text, connector_type text, trigger_type text,
    member_id bigint, payload jsonb, app_chain jsonb, step integer, is_forced boolean, status text,
    error_message text, created_at timestamptz, started_at timestamptz, finished_at timestamptz)
