-- Without settings of its own, so that PostgreSQL inlines it.
create function is_run(r biz.ai_run_logs, f run_filters) returns boolean language sql stable as $$
    select (cardinality(f.apps) > 1 or r.app_type = f.apps[1])
       and (cardinality(f.statuses) > 1 or r.status = f.statuses[1])
       and (cardinality(f.triggers) > 1 or r.trigger_type = f.triggers[1])
       and (f.user_id is null or r.user_id = f.user_id)
       and (f.member_id is null or r.member_id = f.member_id)
       and (f.bot_id is null or r.bot_id = f.bot_id)
       and (f.error_code is null or r.error_code = f.error_code)
       and (f.prompt_version is null or r.prompt_version = f.prompt_version)
       and (f.model_id is null or r.model_id = f.model_id)
       and (f.min_latency_ms is null or r.latency_ms >= f.min_latency_ms)
$$;

comment on function is_run is 'True if a run matches all filters, else false or null';
