create function open_run(l biz.ai_run_logs) returns void language plpgsql as $$
begin
    -- Locks the day first, then the app of the day, as in finish_run. The lock of the day protects
    -- all its apps.
    insert into biz.ai_usage_days as d (site_id, day, tokens)
    values (l.site_id, l.local_day, l.reserved_tokens)
    on conflict on constraint ai_usage_days_pkey do update set tokens = d.tokens + excluded.tokens;
    insert into biz.ai_usage_daily as u (site_id, day, app_type, reserved_tokens)
    values (l.site_id, l.local_day, l.app_type, l.reserved_tokens)
    on conflict on constraint ai_usage_daily_pkey do update set
        reserved_tokens = u.reserved_tokens + excluded.reserved_tokens;
    insert into biz.ai_run_logs (
        id, site_id, user_id, app_type, app_id, trigger_type, member_id, message_id, job_id,
        conversation_id, bot_id, status, prompt_version, reserved_tokens, prompt_tokens, local_day,
        request_prompt, created_at)
    values (
        l.id, l.site_id, l.user_id, l.app_type, l.app_id, l.trigger_type, l.member_id, l.message_id,
        l.job_id, l.conversation_id, l.bot_id,
        'running', l.prompt_version, l.reserved_tokens, l.prompt_tokens, l.local_day,
        l.request_prompt, l.created_at);
end $$;

comment on function open_run is
    'Reserves the tokens of an admitted run and logs it as running';
