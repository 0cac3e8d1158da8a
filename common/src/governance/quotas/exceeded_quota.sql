create type exceeded_quota as (
    retry_at timestamptz,
    quota jsonb
);

comment on type exceeded_quota is
    'A quota without room. retry_at: when its next day or month begins. quota: subject_type, '
    'subject_id and period, which is day or month';

-- Call it after budget_room, whose lock on the site lets concurrent calls see each other's
-- reservations. Each statement of a volatile function takes a new snapshot.
create function exceeded_quota(l biz.ai_run_logs) returns exceeded_quota language plpgsql as $$
declare
    r exceeded_quota;
    q biz.ai_quotas;
    v_used quota_use;
    v_zone text;
    v_month boolean;
    v_retry_at timestamptz;
begin
    -- Most sites have no quota. They cost one look at the index.
    if l.user_id is null
        or not exists (select from biz.ai_quotas a where a.site_id = l.site_id)
    then
        return r;
    end if;
    v_zone := zone_of(l.site_id);
    for q in
        select a.* from biz.users u
        cross join lateral (values
            ('user', u.id::text), ('role', u.role), ('bot', l.bot_id::text)) s (type, id)
        join biz.ai_quotas a
            on a.site_id = l.site_id and a.subject_type = s.type and a.subject_id = s.id
        where u.id = l.user_id and u.site_id = l.site_id
        order by a.subject_type desc
    loop
        -- The quotas of the user and of its role count the same tokens.
        if q.subject_type = 'bot' then
            v_used := quota_use(l.site_id, 'bot', q.subject_id, l.local_day);
        elsif v_used is null then
            v_used := quota_use(l.site_id, 'user', l.user_id::text, l.local_day);
        end if;
        v_month := coalesce(v_used.monthly + l.reserved_tokens > q.monthly_limit, false);
        continue when not v_month
            and coalesce(v_used.daily + l.reserved_tokens <= q.daily_limit, true);
        v_retry_at := case when v_month
            then date_trunc('month', l.local_day::timestamp) + interval '1 month'
            else l.local_day + 1 end at time zone v_zone;
        continue when v_retry_at <= r.retry_at;
        r.retry_at := v_retry_at;
        r.quota := jsonb_build_object(
            'subject_type', q.subject_type, 'subject_id', q.subject_id,
            'period', case when v_month then 'month' else 'day' end);
    end loop;
    return r;
end $$;

comment on function exceeded_quota is
    'The quota of the user, the role or the bot that has no room for the run; of several the one '
    'that has room last. Nulls if all have room, and for runs without a user';
