create function count_latency(p_buckets biz.latency_buckets, p_ms bigint)
returns biz.latency_buckets language plpgsql immutable as $$
declare
    -- PostgreSQL computes the bounds once per session, because they are immutable.
    v_bucket integer := width_bucket(p_ms, latency_bounds()) + 1;
begin
    -- A run without text has no first token.
    if p_ms is not null then
        p_buckets[v_bucket] := coalesce(p_buckets[v_bucket], 0) + 1;
    end if;
    return p_buckets;
end $$;

comment on function count_latency is 'Adds a run to its bucket. A null duration is not counted';
