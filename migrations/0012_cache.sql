-- What the apps answered, by target, for as long as it holds.
create table biz.ai_cache (
    id bigint generated always as identity constraint ai_cache_pkey primary key,
    site_id bigint not null constraint ai_cache_site_id_fkey references biz.sites (id),
    cache_type text not null,
    target_id text not null,
    member_id bigint,
    status text not null default 'generating',
    result_json jsonb,
    score integer,
    triggered_by text not null,
    job_id bigint,
    run_id bigint,
    business_date date not null,
    valid_days integer not null,
    generation integer not null default 1,
    lease_until timestamptz,
    created_at timestamptz not null default now(),
    finished_at timestamptz,
    expires_at timestamptz,
    constraint ai_cache_type_known check (cache_type in (
        'app2_finance', 'app2a_finance_area', 'app3_clue', 'app4_analysis', 'app5_tactics',
        'app6_note_analysis', 'app7_customer_analysis', 'app8_clue_consolidated')),
    constraint ai_cache_status_known check (status in ('generating', 'valid', 'expired', 'invalidated')),
    constraint ai_cache_generating_is_leased check ((status = 'generating') = (lease_until is not null)),
    constraint ai_cache_finished_has_result check (status = 'generating' or (result_json is not null and expires_at is not null)),
    constraint ai_cache_target_bounded check (char_length(target_id) between 1 and 200)
);
-- One generator of a target, and one result that holds.
create unique index ai_cache_generating_key on biz.ai_cache (site_id, cache_type, target_id) where status = 'generating';
create unique index ai_cache_valid_key on biz.ai_cache (site_id, cache_type, target_id) where status = 'valid';
create index ai_cache_target_idx on biz.ai_cache (site_id, cache_type, target_id, id desc);
create index ai_cache_newest_idx on biz.ai_cache (site_id, cache_type, id);
create index ai_cache_member_idx on biz.ai_cache (site_id, member_id, cache_type) where status = 'valid';
create index ai_cache_expiry_idx on biz.ai_cache (expires_at) where status = 'valid';
create index ai_cache_lease_idx on biz.ai_cache (lease_until) where status = 'generating';
create index ai_cache_job_idx on biz.ai_cache (job_id) where status = 'generating';
comment on table biz.ai_cache is 'Results of the apps; the newest 20,000 of an app and site are kept';
comment on column biz.ai_cache.cache_type is 'The app';
comment on column biz.ai_cache.target_id is 'member:7, task:7, note:7, or for finance <period>:<area> and <period>';
comment on column biz.ai_cache.member_id is 'The member it is about, where there is one';
comment on column biz.ai_cache.business_date is 'The site''s business date when it was begun: a result of another date may not hold';
comment on column biz.ai_cache.valid_days is '0: until the site''s day is over; else so many days from its end';
comment on column biz.ai_cache.generation is 'Fences its generator: who takes a dead lease over counts it up';
comment on column biz.ai_cache.lease_until is 'generating: until when it belongs to its generator';
comment on column biz.ai_cache.created_at is 'When it was begun';

create table biz.ai_cache_sizes (
    site_id bigint not null constraint ai_cache_sizes_site_id_fkey references biz.sites (id),
    cache_type text not null,
    entries bigint not null,
    constraint ai_cache_sizes_pkey primary key (site_id, cache_type)
);
create index ai_cache_sizes_full_idx on biz.ai_cache_sizes (entries) where entries > 20000;
comment on table biz.ai_cache_sizes is 'How many entries an app has at a site, so that nobody has to count them to find who has too many';

create function biz.count_cache_entries() returns trigger language plpgsql as $$
begin
    insert into biz.ai_cache_sizes as s (site_id, cache_type, entries)
    select c.site_id, c.cache_type, case tg_op when 'INSERT' then count(*) else -count(*) end
    from changed c group by 1, 2 order by 1, 2
    on conflict on constraint ai_cache_sizes_pkey do update set entries = s.entries + excluded.entries;
    return null;
end $$;
comment on function biz.count_cache_entries is 'Keeps biz.ai_cache_sizes, whoever writes';
create trigger count_inserted after insert on biz.ai_cache
    referencing new table as changed for each statement execute function biz.count_cache_entries();
create trigger count_deleted after delete on biz.ai_cache
    referencing old table as changed for each statement execute function biz.count_cache_entries();

-- A result holds until it expires by the clock, and only near the business date for which it was made: a
-- site whose sandbox is set to another date gets no figures of this one.
create function biz.cache_holds(c biz.ai_cache, p_today date) returns boolean language sql volatile as $$
    select c.status = 'valid' and c.expires_at > clock_timestamp()
       and p_today between c.business_date and c.business_date + c.valid_days
$$;
comment on function biz.cache_holds is 'Whether a result is still good on the site''s business date';

create type biz.generation as (
    entry_id bigint,
    generation integer,
    others_until timestamptz
);
comment on type biz.generation is 'Either the entry to fill and its fence, or until when somebody else has the target';

create function biz.begin_generating(
    p_site bigint,
    p_type text,
    p_target text,
    p_member bigint,
    p_valid_days integer,
    p_triggered_by text,
    p_job bigint,
    p_lease_seconds double precision
) returns biz.generation language plpgsql as $$
declare
    g biz.generation;
begin
    insert into biz.ai_cache as c (site_id, cache_type, target_id, member_id, valid_days, triggered_by, job_id, business_date, lease_until, created_at)
    values (p_site, p_type, p_target, p_member, p_valid_days, p_triggered_by, p_job, biz.site_today(p_site),
            clock_timestamp() + make_interval(secs => p_lease_seconds), clock_timestamp())
    on conflict (site_id, cache_type, target_id) where status = 'generating' do update set
        member_id = excluded.member_id, valid_days = excluded.valid_days, triggered_by = excluded.triggered_by,
        job_id = excluded.job_id, business_date = excluded.business_date, lease_until = excluded.lease_until,
        created_at = excluded.created_at, generation = c.generation + 1
    -- A job that comes back has lost the worker that held it.
    where c.lease_until <= clock_timestamp() or c.job_id = excluded.job_id
    returning c.id, c.generation into g.entry_id, g.generation;
    if not found then
        select c.lease_until into g.others_until from biz.ai_cache c
        where c.site_id = p_site and c.cache_type = p_type and c.target_id = p_target and c.status = 'generating';
        -- It has just ended: there is nothing to wait for.
        g.others_until := coalesce(g.others_until, clock_timestamp());
    end if;
    return g;
end $$;
comment on function biz.begin_generating is 'Makes the caller the one generator of a target, or says until when another is';

create function biz.finalize_generating(
    p_site bigint,
    p_entry bigint,
    p_generation integer,
    p_result jsonb,
    p_score integer,
    p_run bigint
) returns boolean language plpgsql as $$
declare
    c biz.ai_cache;
begin
    select * into c from biz.ai_cache
    where id = p_entry and site_id = p_site and generation = p_generation and status = 'generating' for update;
    if not found then
        -- Said twice, it is done once.
        return exists (select from biz.ai_cache where id = p_entry and site_id = p_site and run_id = p_run);
    end if;
    update biz.ai_cache set status = 'expired'
    where site_id = p_site and cache_type = c.cache_type and target_id = c.target_id and status = 'valid';
    update biz.ai_cache set
        status = 'valid', result_json = p_result, score = p_score, run_id = p_run, lease_until = null,
        finished_at = clock_timestamp(),
        -- The app is in the row, so that none is left without an end.
        expires_at = case c.valid_days
            when 0 then (select (biz.local_day(s.timezone, c.created_at) + time '23:59:59') at time zone s.timezone
                         from biz.sites s where s.id = p_site)
            else clock_timestamp() + make_interval(days => c.valid_days) end
    where id = c.id;
    return true;
end $$;
comment on function biz.finalize_generating is
    'Puts a result in the place of the one before. False, and nothing changed, for who has lost the lease';

create function biz.sweep_cache(p_limit integer default 1000) returns table (leases integer, expired integer, removed integer)
language plpgsql as $$
declare
    s biz.ai_cache_sizes;
begin
    leases := 0; expired := 0; removed := 0;
    if not biz.take_sweep_lock() then return next; return; end if;
    -- Lists of ids, so that the table is reached by its key whatever the planner thinks of the limit.
    delete from biz.ai_cache where id = any (array(
        select id from biz.ai_cache where status = 'generating' and lease_until < now()
        order by lease_until limit p_limit for update skip locked));
    get diagnostics leases = row_count;
    update biz.ai_cache set status = 'expired' where id = any (array(
        select id from biz.ai_cache where status = 'valid' and expires_at <= now()
        order by expires_at limit p_limit for update skip locked));
    get diagnostics expired = row_count;
    select * into s from biz.ai_cache_sizes where entries > 20000 order by entries desc limit 1;
    if found then
        delete from biz.ai_cache where id = any (array(
            select id from biz.ai_cache where site_id = s.site_id and cache_type = s.cache_type
            order by id limit least(p_limit, s.entries - 20000)));
        get diagnostics removed = row_count;
    end if;
    return next;
end $$;
comment on function biz.sweep_cache is
    'Releases dead leases, marks what has expired, and takes away the oldest of who has more than 20,000 entries';
