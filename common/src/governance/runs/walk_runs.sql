create type run_filters as (
    apps text[],
    statuses text[],
    triggers text[],
    user_id bigint,
    member_id bigint,
    bot_id uuid,
    error_code text,
    prompt_version text,
    model_id text,
    min_latency_ms bigint
);

comment on type run_filters is
    'Filters of the run log; null matches every run. A list has the one word to match, or all words '
    'of the column. RunFilters in Rust sends it as JSON';

create type walked_run as (
    created_at timestamptz,
    id bigint,
    is_match boolean
);

comment on type walked_run is 'is_match: true if the run matches all filters, else false or null';

-- Reads the index of one filter, newest run first, and checks the other filters in each row. There
-- are no nulls to be sorted last. But only the indexes of filters have this order, so the planner
-- cannot read all runs of the site to find those of a rare model.
create function walk_runs(
    p_site bigint,
    p_began timestamptz,
    f run_filters,
    p_before timestamptz,
    p_before_id bigint,
    p_most bigint
) returns setof walked_run language plpgsql stable
set enable_sort = off set enable_seqscan = off set enable_bitmapscan = off set jit = off set plan_cache_mode = force_generic_plan as $$
begin
    if f.error_code is not null then
        return query
        select r.created_at, r.id, is_run(r, f) from biz.ai_run_logs r
        where r.site_id = p_site and r.error_code = f.error_code
          and r.created_at between p_began and p_before
          and (r.created_at, r.id) < (p_before, p_before_id)
        order by r.created_at desc nulls last, r.id desc nulls last limit p_most;
    elsif f.member_id is not null then
        return query
        select r.created_at, r.id, is_run(r, f) from biz.ai_run_logs r
        where r.site_id = p_site and r.member_id = f.member_id
          and r.created_at between p_began and p_before
          and (r.created_at, r.id) < (p_before, p_before_id)
        order by r.created_at desc nulls last, r.id desc nulls last limit p_most;
    elsif f.user_id is not null then
        return query
        select r.created_at, r.id, is_run(r, f) from biz.ai_run_logs r
        where r.site_id = p_site and r.user_id = f.user_id
          and r.created_at between p_began and p_before
          and (r.created_at, r.id) < (p_before, p_before_id)
        order by r.created_at desc nulls last, r.id desc nulls last limit p_most;
    elsif f.bot_id is not null then
        return query
        select r.created_at, r.id, is_run(r, f) from biz.ai_run_logs r
        where r.site_id = p_site and r.bot_id = f.bot_id
          and r.created_at between p_began and p_before
          and (r.created_at, r.id) < (p_before, p_before_id)
        order by r.created_at desc nulls last, r.id desc nulls last limit p_most;
    elsif f.model_id is not null then
        return query
        select r.created_at, r.id, is_run(r, f) from biz.ai_run_logs r
        where r.site_id = p_site and r.model_id = f.model_id
          and r.created_at between p_began and p_before
          and (r.created_at, r.id) < (p_before, p_before_id)
        order by r.created_at desc nulls last, r.id desc nulls last limit p_most;
    else
        return query
        select r.created_at, r.id, is_run(r, f) from biz.ai_run_logs r
        where r.site_id = p_site and r.created_at between p_began and p_before
          and (r.created_at, r.id) < (p_before, p_before_id)
        order by r.created_at desc, r.id desc limit p_most;
    end if;
end $$;

comment on function walk_runs is
    'The newest p_most runs of a site by one of the filters. is_match says if a run matches the others';
