create function latency_bucket(latency_ms bigint) returns integer
language sql immutable parallel safe as $$
    select width_bucket(latency_ms, array[100, 200, 300, 500, 750, 1000, 1500, 2000, 3000, 5000, 7500,
                                          10000, 15000, 30000, 60000]::bigint[]) + 1
$$;

comment on function latency_bucket is
    'Index of the bucket of a latency in ai_usage_daily.latency_histogram, 1 to 16. Only the previous '
    'release reads that column';
