-- Results of the applications by target. A result is valid until it expires or is invalidated.
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
    constraint ai_cache_status_known
        check (status in ('generating', 'valid', 'expired', 'invalidated')),
    constraint ai_cache_generating_is_leased
        check ((status = 'generating') = (lease_until is not null)),
    constraint ai_cache_finished_has_result check (
        status = 'generating' or (result_json is not null and expires_at is not null)),
    constraint ai_cache_target_bounded check (char_length(target_id) between 1 and 200)
);
comment on table biz.ai_cache is
    'Results of the apps; the newest 20,000 per app and site are kept';
comment on column biz.ai_cache.cache_type is 'Name of the app';
comment on column biz.ai_cache.target_id is
    'member:7, task:7, note:7, or for finance <period>:<area> and <period>';
comment on column biz.ai_cache.member_id is 'Member of the result, if it has one';
comment on column biz.ai_cache.business_date is
    'The site''s business date when the generation started; on another date the result may be '
    'invalid';
comment on column biz.ai_cache.valid_days is
    '0: until the end of the site''s day; otherwise this number of days after its completion';
comment on column biz.ai_cache.generation is
    'Increased when a job takes over an expired lease, so that the earlier job cannot write';
comment on column biz.ai_cache.lease_until is
    'generating: end of the lease of the job that generates the result';
comment on column biz.ai_cache.created_at is 'When the generation started';

-- A target has at most one generator and at most one valid result.
create unique index ai_cache_generating_key on biz.ai_cache (site_id, cache_type, target_id)
    where status = 'generating';
create unique index ai_cache_valid_key on biz.ai_cache (site_id, cache_type, target_id)
    where status = 'valid';
create index ai_cache_target_idx on biz.ai_cache (site_id, cache_type, target_id, id desc);
create index ai_cache_newest_idx on biz.ai_cache (site_id, cache_type, id);
create index ai_cache_kind_idx on biz.ai_cache (site_id, cache_type, status, id desc);
create index ai_cache_member_idx on biz.ai_cache (site_id, member_id, cache_type)
    where status = 'valid';
create index ai_cache_expiry_idx on biz.ai_cache (expires_at) where status = 'valid';
create index ai_cache_lease_idx on biz.ai_cache (lease_until) where status = 'generating';
create index ai_cache_job_idx on biz.ai_cache (job_id) where status = 'generating';

create table biz.ai_cache_sizes (
    site_id bigint not null constraint ai_cache_sizes_site_id_fkey references biz.sites (id),
    cache_type text not null,
    entries bigint not null,
    constraint ai_cache_sizes_pkey primary key (site_id, cache_type)
);
-- Finds apps with too many entries; the sweep deletes their oldest ones.
create index ai_cache_sizes_full_idx on biz.ai_cache_sizes (entries) where entries > 20000;
comment on table biz.ai_cache_sizes is
    'Number of entries by site and app, so that the sweep does not count rows';

-- Used by the triggers below, so it stays in this schema. Sorted, so that concurrent transactions
-- lock the rows in the same order.
create function biz.count_cache_entries() returns trigger language plpgsql as $$
begin
    insert into biz.ai_cache_sizes as s (site_id, cache_type, entries)
    select c.site_id, c.cache_type, case tg_op when 'INSERT' then count(*) else -count(*) end
    from changed c group by 1, 2 order by 1, 2
    on conflict on constraint ai_cache_sizes_pkey do update
        set entries = s.entries + excluded.entries;
    return null;
end $$;
comment on function biz.count_cache_entries is 'Updates biz.ai_cache_sizes after each statement';
create trigger count_inserted after insert on biz.ai_cache
    referencing new table as changed for each statement execute function biz.count_cache_entries();
create trigger count_deleted after delete on biz.ai_cache
    referencing old table as changed for each statement execute function biz.count_cache_entries();
