create function sum_up_usage(p_limit integer default 500) returns integer language plpgsql as $$
declare
    v_sites integer;
begin
    insert into biz.ai_usage_before (site_id, day, tokens, cost)
    select stale.id, stale.day, used.tokens, used.cost
    from (
        select s.id, today.day from biz.sites s
        cross join lateral (select local_day(s.timezone) as day) today
        left join biz.ai_usage_before b on b.site_id = s.id
        where b.day is distinct from today.day
        order by s.id limit p_limit
    ) stale
    cross join lateral (
        select coalesce(sum(u.tokens), 0)::bigint as tokens, coalesce(sum(u.cost), 0)::bigint as cost
        from biz.ai_usage_days u
        where u.site_id = stale.id
          and u.day >= date_trunc('month', stale.day)::date and u.day < stale.day
    ) used
    on conflict on constraint ai_usage_before_pkey do update set
        day = excluded.day, tokens = excluded.tokens, cost = excluded.cost;
    get diagnostics v_sites = row_count;
    return v_sites;
end $$;

comment on function sum_up_usage is
    'Stores tokens and cost of the month''s earlier days for up to p_limit sites where a new day has '
    'begun. Returns the number of sites';
