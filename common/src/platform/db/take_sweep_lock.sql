-- What the sweep does each minute. Every step takes the same advisory lock for its own short
-- transaction: two sweeps never work at once, and none waits for another.
create function take_sweep_lock() returns boolean language sql as $$
    select pg_try_advisory_xact_lock(hashtextextended('parlor/sweep', 0))
$$;

comment on function take_sweep_lock is 'Whether the caller''s transaction is the one that sweeps';
