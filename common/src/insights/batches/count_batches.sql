create function count_batches(p_site bigint, p_most bigint) returns bigint language plpgsql stable
set enable_sort = off set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
begin
    return (select count(*) from (
        select from biz.sites s cross join lateral (
            select from biz.ai_batches b where b.site_id = s.id order by b.created_at desc limit p_most
        ) each
        where p_site is null or s.id = p_site
        limit p_most
    ) few);
end $$;

comment on function count_batches is 'Number of batches of one site or of all sites, counted up to p_most';
