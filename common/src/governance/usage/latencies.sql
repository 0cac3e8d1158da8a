create type latency as (
    day date,
    app_type text,
    max_ms bigint,
    buckets bigint[],
    first_token_max_ms bigint,
    first_token_buckets bigint[]
);

comment on type latency is
    'Latency and time to first token of an app on a day, of one site or of all sites';

create function latencies(p_site bigint, p_app text, p_from date, p_to date) returns setof latency
language sql stable as $$
    select u.day, u.app_type, max(u.latency_max_ms), add_up(u.latency_buckets),
           max(u.first_token_max_ms), add_up(u.first_token_buckets)
    -- Lateral with a limit, so that the plan always uses the index for the days of a site. A year
    -- has fewer rows.
    from biz.sites s cross join lateral (
        select * from biz.ai_usage_daily u
        where u.site_id = s.id and u.day between p_from and p_to
          and (p_app is null or u.app_type = p_app)
        order by u.day limit 10000
    ) u
    where p_site is null or s.id = p_site
    group by u.day, u.app_type
$$;

comment on function latencies is
    'Latencies by day and app. p_site null: all sites together; p_app null: all apps';
