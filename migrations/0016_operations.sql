-- What the operations desk needs of all its parts: who changed what, which days are asked for, and how an
-- app was last seen.

create table biz.ai_admin_audit (
    id bigint generated always as identity constraint ai_admin_audit_pkey primary key,
    site_id bigint not null constraint ai_admin_audit_site_id_fkey references biz.sites (id),
    user_id bigint not null,
    action text not null,
    object_id text,
    details jsonb not null default '{}',
    created_at timestamptz not null default clock_timestamp(),
    constraint ai_admin_audit_action_known check (action in (
        'budget.set', 'runtime_context.set', 'alert.acknowledge', 'alert.ignore', 'trigger_job.create', 'trigger_job.retry',
        'batch.estimate', 'batch.confirm', 'batch.cancel', 'cache.invalidate'))
);
create index ai_admin_audit_site_idx on biz.ai_admin_audit (site_id, created_at desc, id desc);
create index ai_admin_audit_created_idx on biz.ai_admin_audit (created_at desc, id desc);
comment on table biz.ai_admin_audit is 'What admins changed, written in the statement that changed it';
comment on column biz.ai_admin_audit.user_id is 'Who; not a foreign key, for it must outlive its user';
comment on column biz.ai_admin_audit.object_id is 'The run, job or batch that it was done to, where there is one';
comment on column biz.ai_admin_audit.details is 'What was asked for and what it did';

create function biz.audit(p_site bigint, p_user bigint, p_action text, p_object text, p_details jsonb) returns void
language sql as $$
    insert into biz.ai_admin_audit (site_id, user_id, action, object_id, details)
    values (p_site, p_user, p_action, p_object, p_details)
$$;
comment on function biz.audit is 'Leaves a row of what an admin changed';

alter table biz.sites add column runtime_updated_by bigint;
alter table biz.sites add column runtime_updated_at timestamptz;
comment on column biz.sites.runtime_updated_by is 'Who last set the runtime context; null where nobody has';

create function biz.zone_of(p_site bigint) returns text language sql stable as $$
    select coalesce((select s.timezone from biz.sites s where s.id = p_site), 'Asia/Shanghai')
$$;
comment on function biz.zone_of is 'The zone of a site; that of Shanghai for all sites together (null)';

-- Both ends are inclusive: a day means all of it, in the site's zone.
create function biz.date_range(
    p_site bigint,
    p_from_day date,
    p_from timestamptz,
    p_to_day date,
    p_to timestamptz,
    out began_at timestamptz,
    out ended_at timestamptz
) language sql stable as $$
    select coalesce(p_from, p_from_day::timestamp at time zone zone, '-infinity'),
           coalesce(p_to + interval '1 microsecond', (p_to_day + 1)::timestamp at time zone zone, 'infinity')
    from biz.zone_of(p_site) as zone
$$;
comment on function biz.date_range is 'What date_from and date_to of an admin mean: from began_at, and before ended_at';

-- The health of an app is read from here, for the log has millions of rows.
alter table biz.ai_usage_daily add column last_status text;
alter table biz.ai_usage_daily add column last_call_at timestamptz;
create index ai_usage_daily_app_idx on biz.ai_usage_daily (site_id, app_type, day desc);
comment on column biz.ai_usage_daily.last_status is 'How the run that ended last had gone';
comment on column biz.ai_usage_daily.last_call_at is 'When the run that ended last had begun';

-- As before, and remembers how it went.
create or replace function biz.admit_run(l biz.ai_run_logs) returns biz.ai_run_logs language plpgsql as $$
declare
    v_retry_at timestamptz := biz.budget_retry_at(l.site_id, l.reserved_tokens);
begin
    l.id := nextval('biz.ai_run_logs_id_seq');
    l.created_at := clock_timestamp();
    l.local_day := (select biz.local_day(s.timezone, l.created_at) from biz.sites s where s.id = l.site_id);
    if v_retry_at is not null then
        l.status := 'budget_exceeded';
    elsif biz.pass_circuit(l.app_type, l.id) = 'circuit_open' then
        l.status := 'circuit_open';
        -- What a probe under way will show is known long before its lease is over.
        select case k.state when 'half_open' then l.created_at + interval '5 seconds' else k.retry_at end
        into v_retry_at from biz.ai_circuits k where k.app_type = l.app_type;
    else
        l.status := 'running';
        return l;
    end if;
    -- Such refusals are runs too: they are seen on the dashboard.
    insert into biz.ai_run_logs (id, site_id, user_id, app_type, trigger_type, member_id, job_id, status, alert_status, prompt_version,
                                 request_prompt, local_day, latency_ms, error_code, created_at, finished_at)
    values (l.id, l.site_id, l.user_id, l.app_type, l.trigger_type, l.member_id, l.job_id, l.status,
            case l.status when 'circuit_open' then 'pending' end, l.prompt_version,
            l.request_prompt, l.local_day, 0, l.status, l.created_at, l.created_at);
    insert into biz.ai_usage_daily as u (site_id, day, app_type, calls, failures, last_status, last_call_at)
    values (l.site_id, l.local_day, l.app_type, 1, 1, l.status, l.created_at)
    on conflict on constraint ai_usage_daily_pkey do update set
        calls = u.calls + 1, failures = u.failures + 1, last_status = excluded.last_status, last_call_at = excluded.last_call_at;
    l.finished_at := greatest(v_retry_at, l.created_at + interval '1 second');
    return l;
end $$;

-- As before, and remembers how it went.
create or replace function biz.finish_run(
    p_site bigint,
    p_run bigint,
    p_run_at timestamptz,
    p_status text,
    p_response text,
    p_tokens_in bigint,
    p_tokens_out bigint,
    p_charge_unknown boolean,
    p_session_id text,
    p_prompt text,
    p_prompt_version text,
    p_first_token_ms bigint,
    p_latency_ms bigint,
    p_attempts integer,
    p_upstream_request_id text,
    p_error_code text,
    p_error_message text,
    p_circuit text
) returns biz.finished_run language plpgsql as $$
declare
    r biz.finished_run;
    l biz.ai_run_logs;
    v_ok integer := (p_status in ('success', 'stopped'))::integer;
begin
    update biz.ai_run_logs set
        status = p_status,
        alert_status = case when p_status in ('failed', 'timeout') then 'pending' end,
        request_prompt = coalesce(p_prompt, request_prompt),
        prompt_version = coalesce(p_prompt_version, prompt_version),
        response_text = p_response,
        tokens_in = p_tokens_in,
        tokens_out = p_tokens_out,
        tokens_used = p_tokens_in + p_tokens_out,
        tokens_estimated = p_tokens_in is null and p_charge_unknown,
        first_token_ms = p_first_token_ms,
        latency_ms = p_latency_ms,
        attempts = p_attempts,
        session_id = p_session_id,
        upstream_request_id = p_upstream_request_id,
        error_code = p_error_code,
        error_message = p_error_message,
        finished_at = clock_timestamp()
    where id = p_run and created_at = p_run_at and site_id = p_site and status = 'running'
    returning * into l;
    r.applied := found;
    if not r.applied then return r; end if;

    r.circuit := biz.record_circuit(l.app_type, l.id, p_circuit);

    update biz.ai_usage_daily u set
        calls = u.calls + 1,
        successes = u.successes + v_ok,
        failures = u.failures + 1 - v_ok,
        tokens = u.tokens + coalesce(l.tokens_used, case when p_charge_unknown then l.reserved_tokens else 0 end),
        reserved_tokens = u.reserved_tokens - l.reserved_tokens,
        latency_sum_ms = u.latency_sum_ms + p_latency_ms,
        last_status = l.status,
        last_call_at = l.created_at,
        latency_histogram[biz.latency_bucket(p_latency_ms)] = u.latency_histogram[biz.latency_bucket(p_latency_ms)] + 1
    where u.site_id = p_site and u.day = l.local_day and u.app_type = l.app_type;
    return r;
end $$;
