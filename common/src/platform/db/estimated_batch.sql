create type estimated_batch as (
    outcome text,
    batch_id uuid,
    estimated_calls bigint,
    estimated_tokens bigint,
    budget_left bigint,
    expires_at timestamptz
);

comment on type estimated_batch is 'estimated; or not_found where there is no such site, unknown_members where one is not a member of it';
