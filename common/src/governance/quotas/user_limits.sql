create type quota_limits as (
    daily bigint,
    monthly bigint
);

comment on type quota_limits is 'In tokens; null: none';

create function user_limits(p_site bigint, p_user bigint) returns quota_limits
language sql stable as $$
    select min(q.daily_limit), min(q.monthly_limit)
    from biz.users u
    cross join lateral (values ('user', u.id::text), ('role', u.role)) s (type, id)
    join biz.ai_quotas q
        on q.site_id = u.site_id and q.subject_type = s.type and q.subject_id = s.id
    where u.id = p_user and u.site_id = p_site
$$;

comment on function user_limits is 'The lower limits of the quotas of a user and of its role';
