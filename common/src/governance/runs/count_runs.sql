create type run_total as (
    total bigint,
    is_estimate boolean
);

comment on type run_total is 'is_estimate: there may be more runs than total, or a few less';

create function count_runs(
    p_site bigint,
    p_began timestamptz,
    p_ended timestamptz,
    p_days daterange,
    f run_filters,
    p_most bigint,
    p_read bigint
) returns run_total language plpgsql stable
set enable_sort = off set enable_seqscan = off set enable_bitmapscan = off set jit = off set plan_cache_mode = force_generic_plan as $$
declare
    v_result run_total := row(0, false);
    v_each bigint := p_most + 1;
begin
    -- An export needs no total.
    if p_most = 0 then return v_result; end if;
    if has_only_words(f) and word_filters(f) = 0 then
        select count(*) into v_result.total from (
            select from biz.sites s, lateral (
                select from biz.ai_run_logs r
                where r.site_id = s.id and r.created_at >= p_began and r.created_at < p_ended
                limit v_each
            ) r
            where p_site is null or s.id = p_site
            limit v_each
        ) few;
    elsif has_only_words(f) then
        select count(*) into v_result.total from (
            select from biz.sites s, unnest(f.apps) a (app), unnest(f.statuses) t (status), unnest(f.triggers) v (via), lateral (
                select from biz.ai_run_logs r
                where r.site_id = s.id and r.app_type = a.app and r.status = t.status and r.trigger_type = v.via
                  and r.created_at >= p_began and r.created_at < p_ended
                limit v_each
            ) r
            where p_site is null or s.id = p_site
            limit v_each
        ) few;
    else
        if not is_in_index(f) then
            v_each := p_read / (select greatest(count(*), 1) from biz.sites s where p_site is null or s.id = p_site) + 1;
        end if;
        select count(*) filter (where r.is_match), bool_or(r.place = v_each) into v_result from (
            select r.* from biz.sites s, lateral walk_runs(
                s.id, p_began, f, p_ended, 0, v_each
            ) with ordinality r (created_at, id, is_match, place)
            where p_site is null or s.id = p_site
            limit greatest(v_each, p_read)
        ) r;
    end if;
    v_result.is_estimate := coalesce(v_result.is_estimate, false);
    if v_result.total > p_most then
        v_result.is_estimate := true;
        v_result.total := greatest(p_most, usage_of_runs(p_site, p_days, f));
    end if;
    return v_result;
end $$;

comment on function count_runs is
    'Number of matching runs. Above p_most, it is from the usage counters if they have the filters, '
    'else p_most. If no index has all filters, only the newest p_read runs of the index are counted';
