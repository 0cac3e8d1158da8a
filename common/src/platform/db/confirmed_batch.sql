create type confirmed_batch as (
    outcome text,
    jobs bigint
);

comment on type confirmed_batch is 'confirmed, with the number of its jobs; else not_found, confirmed_before, cancelled, expired or over_budget';
