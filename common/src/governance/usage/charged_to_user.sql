create function charged_to_user(
    p_site bigint, p_user bigint, p_day date, out daily bigint, out monthly bigint
) language sql stable as $$
    select coalesce(sum(d.tokens) filter (where d.day = p_day), 0)::bigint,
           coalesce(sum(d.tokens), 0)::bigint
    from generate_series(date_trunc('month', p_day::timestamp), p_day, '1 day') of_month
    -- The limit, which a day never reaches, makes the plan use the index for each day.
    cross join lateral (
        select d.day, d.tokens from biz.ai_usage_details d
        where d.site_id = p_site and d.day = of_month::date and d.user_id = p_user limit 10000
    ) d
$$;

comment on function charged_to_user is
    'Tokens of the ended calls of a user, on a day and in its month up to that day';
