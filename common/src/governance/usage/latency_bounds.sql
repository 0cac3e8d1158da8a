create function latency_bounds() returns bigint[] language sql immutable parallel safe as $$
    select array_agg(ms::bigint order by ms) from (
        select n as ms from generate_series(1, 9) n
        union all
        select (10 + 2 * fifth) << doubling
        from generate_series(0, 15) doubling cross join generate_series(0, 4) fifth
        where (10 + 2 * fifth) << doubling <= 10 << 15
    ) bounds
$$;

comment on function latency_bounds is
    'Lower bounds in ms of the buckets of biz.latency_buckets from the second on: 1 to 9, then five '
    'per doubling from 10 to 327,680. Bucket 1 is 0 ms. BOUNDS in Rust has the same values';
