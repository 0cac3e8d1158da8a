create type usage_item as (
    key text,
    label text,
    calls bigint,
    successes bigint,
    failures bigint,
    tokens_in bigint,
    tokens_out bigint,
    tokens bigint,
    cost bigint,
    unpriced_calls bigint
);

comment on type usage_item is
    'Usage of one day, app, user, bot or model. key: null if the runs have none. label: name for '
    'people. cost: of the priced calls, in millionths of a yuan';

create function usage_by(p_site bigint, p_group text, p_from date, p_to date)
returns setof usage_item language plpgsql stable as $$
begin
    if p_group in ('day', 'app') then
        return query
        select u.key, u.key, sum(u.calls)::bigint, sum(u.successes)::bigint,
               sum(u.failures)::bigint, sum(u.tokens_in)::bigint, sum(u.tokens_out)::bigint,
               sum(u.tokens)::bigint, sum(u.cost)::bigint, sum(u.unpriced_calls)::bigint
        from (
            select case p_group when 'day' then u.day::text else u.app_type end as key, u.calls,
                   u.successes, u.failures, u.tokens_in, u.tokens_out, u.tokens, u.cost,
                   u.unpriced_calls
            -- Lateral with a limit, so that the plan always uses the index for the days of a site.
            from biz.sites s cross join lateral (
                select * from biz.ai_usage_daily u
                where u.site_id = s.id and u.day between p_from and p_to
                order by u.day limit 10000
            ) u
            where p_site is null or s.id = p_site
            union all
            select d.day::date::text, 0, 0, 0, 0, 0, 0, 0, 0
            from generate_series(p_from, p_to, interval '1 day') d (day)
            where p_group = 'day'
        ) u
        group by u.key
        having p_group = 'day' or sum(u.calls) > 0
        order by case p_group when 'app' then sum(u.tokens) end desc, u.key;
        return;
    end if;
    return query
    select u.key,
           case p_group
               when 'user' then (select p.nickname from biz.users p where p.id = u.key::bigint)
               when 'bot' then (
                   select coalesce(b.display_name, b.name) from biz.bots b where b.id = u.key::uuid)
               else u.key end,
           u.calls, u.successes, u.failures, u.tokens_in, u.tokens_out, u.tokens, u.cost,
           u.unpriced_calls
    from (
        select case p_group when 'user' then u.user_id::text when 'bot' then u.bot_id::text
                    else u.model_id end as key,
               sum(u.calls)::bigint as calls, sum(u.successes)::bigint as successes,
               sum(u.failures)::bigint as failures, sum(u.tokens_in)::bigint as tokens_in,
               sum(u.tokens_out)::bigint as tokens_out, sum(u.tokens)::bigint as tokens,
               sum(u.cost)::bigint as cost, sum(u.unpriced_calls)::bigint as unpriced_calls
        from biz.sites s cross join lateral (
            select * from biz.ai_usage_details u
            where u.site_id = s.id and u.day between p_from and p_to
            order by u.day limit 10000000
        ) u
        where p_site is null or s.id = p_site
        group by 1
    ) u
    order by u.tokens desc, u.key;
end $$;

comment on function usage_by is
    'Usage by day, app, user, bot or model, from p_from to p_to. p_site null: all sites together. '
    'Days without a call are included';
