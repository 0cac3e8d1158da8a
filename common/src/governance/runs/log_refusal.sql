create function log_refusal(l biz.ai_run_logs) returns void language plpgsql as $$
declare
    f biz.ai_refusals;
    v_since timestamptz := l.created_at - interval '1 minute';
begin
    if l.job_id is null then
        insert into biz.ai_refusals as r (
            user_id, reason, app_id, site_id, run_id, run_at, refusals)
        values (l.user_id, l.status, l.app_id, l.site_id, l.id, l.created_at, 1)
        on conflict on constraint ai_refusals_pkey do update set
            run_id = case when r.run_at > v_since then r.run_id else excluded.run_id end,
            run_at = case when r.run_at > v_since then r.run_at else excluded.run_at end,
            refusals = case when r.run_at > v_since then r.refusals + 1 else 1 end
        returning r.* into f;
        update biz.ai_run_logs r set refusals = f.refusals, finished_at = l.created_at
        where r.id = f.run_id and r.created_at = f.run_at and r.site_id = l.site_id;
    else
        update biz.ai_run_logs r set refusals = r.refusals + 1, finished_at = l.created_at
        where r.job_id = l.job_id and r.site_id = l.site_id and r.app_type = l.app_type
          and r.status = l.status
          and r.created_at >= (
              select j.created_at from biz.ai_trigger_jobs j
              where j.id = l.job_id and j.site_id = l.site_id);
    end if;
    if found then return; end if;
    insert into biz.ai_run_logs (
        id, site_id, user_id, app_type, app_id, trigger_type, member_id, job_id, bot_id,
        status, alert_status, prompt_version, local_day, latency_ms, error_code, error_message,
        refusals, created_at, finished_at)
    values (
        l.id, l.site_id, l.user_id, l.app_type, l.app_id, l.trigger_type, l.member_id, l.job_id,
        l.bot_id, l.status,
        -- One alert per site and opening of the circuit.
        case when l.status = 'circuit_open' and not exists (
            select from biz.ai_circuits k join biz.ai_run_logs r
                on r.site_id = l.site_id and r.alert_status is not null
                and r.created_at >= k.opened_at and r.app_id = k.app_id and r.status = l.status
            where k.app_id = l.app_id) then 'pending' end,
        l.prompt_version, l.local_day, 0, l.status, l.error_message, 1, l.created_at, l.created_at);
    -- A quota concerns one user or one bot, and says nothing about the app.
    if l.status = 'quota_exceeded' then return; end if;
    -- A refusal is no call, so it changes no rate. The dashboard shows it as the last status.
    insert into biz.ai_usage_daily as u (site_id, day, app_type, last_status, last_call_at)
    values (l.site_id, l.local_day, l.app_type, l.status, l.created_at)
    on conflict on constraint ai_usage_daily_pkey do update set
        last_status = excluded.last_status, last_call_at = excluded.last_call_at;
end $$;

comment on function log_refusal is
    'Logs a run that budget, quota or circuit refused, without its prompt: once a minute per user, '
    'reason and application, once per job, step and reason. Further refusals are counted in the same '
    'row';
