create type quota_use as (
    daily bigint,
    monthly bigint
);

comment on type quota_use is
    'Tokens of a day, and of its month up to that day: charged, or reserved by running calls';

-- Reservations have no counter: they are read from the running runs. So each end of a run releases
-- its reservation. finish_run ends a run and counts its charge in one transaction: a statement that
-- calls this function sees either the reservation or the charge.
create function quota_use(p_site bigint, p_type text, p_id text, p_day date) returns quota_use
language plpgsql stable as $$
declare
    r quota_use;
    v_first date := date_trunc('month', p_day::timestamp)::date;
    v_user bigint;
    v_bot uuid;
begin
    if p_type = 'role' then
        select coalesce(max(used.daily), 0), coalesce(max(used.monthly), 0) into r
        from biz.users u cross join lateral quota_use(p_site, 'user', u.id::text, p_day) used
        where u.site_id = p_site and u.role = p_id;
        return r;
    elsif p_type = 'user' then
        v_user := p_id::bigint;
        select c.daily, c.monthly into r from charged_to_user(p_site, v_user, p_day) c;
    else
        v_bot := p_id::uuid;
        select coalesce(sum(d.tokens) filter (where d.day = p_day), 0), coalesce(sum(d.tokens), 0)
        into r
        from biz.ai_usage_details d
        where d.site_id = p_site and d.bot_id = v_bot and d.day between v_first and p_day;
    end if;
    select r.daily + coalesce(sum(l.reserved_tokens) filter (where l.local_day = p_day), 0),
           r.monthly + coalesce(sum(l.reserved_tokens), 0)
    into r
    from biz.ai_run_logs l
    -- The columns of the index ai_run_logs_filter_idx: users call only this app, in these two ways.
    where l.site_id = p_site and l.app_type = 'app1_chat' and l.status = 'running'
      and l.trigger_type in ('chat', 'session')
      -- Skips older partitions. A local day begins less than a day before its date in UTC.
      and l.created_at >= v_first - 1
      and l.local_day between v_first and p_day
      and (l.user_id = v_user or l.bot_id = v_bot);
    return r;
end $$;

comment on function quota_use is
    'Tokens that count for a quota. role: those of the user of the role who has used most';
