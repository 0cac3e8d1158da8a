create type prewarm_filter as (
    site_id bigint,
    today date,
    app text,
    period text,
    area text,
    target text
);

comment on type prewarm_filter is
    'A filter of the finance board at an active site. today: the business date; area: null for the '
    'comparison of areas';

create function prewarm_filters(
    p_after bigint,
    p_site bigint,
    p_sites bigint,
    p_periods text[],
    p_finance text,
    p_finance_area text,
    p_all_areas text
) returns setof prewarm_filter language sql stable as $$
    with page as (
        select s.id as site_id, site_today(s.id) as today from biz.sites s
        where s.id > p_after and (p_site is null or s.id = p_site) order by s.id limit p_sites
    ), areas as (
        select p.site_id, p.today, f.area, max(f.business_date) as last_day
        from page p join dws.finance_area_daily f on f.site_id = p.site_id and f.business_date between p.today - 200 and p.today
        group by p.site_id, p.today, f.area
    ), active as (
        select site_id, today from areas group by site_id, today having max(last_day) >= today - 31
    )
    select a.site_id, a.today, p_finance, w.period, w.area, w.period || ':' || w.area
    from active a cross join lateral (
        select period, area from unnest(p_periods) period
        cross join (select p_all_areas as area union
                    select r.area from areas r where r.site_id = a.site_id and char_length(r.area) <= 64) each
    ) w
    union all
    select a.site_id, a.today, p_finance_area, period, null, period
    from active a cross join unnest(p_periods) period
$$;

comment on function prewarm_filters is
    'The filters of at most p_sites active sites: sites with finance data of the last 31 days';
