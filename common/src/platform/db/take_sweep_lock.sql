-- The lock of the sweep, which runs each minute. Each step takes this advisory lock for its own
-- short transaction. So two sweeps never work at the same time, and neither waits for the other.
create function take_sweep_lock() returns boolean language sql as $$
    select pg_try_advisory_xact_lock(hashtextextended('parlor/sweep', 0))
$$;

comment on function take_sweep_lock is 'Tries to take the lock of the sweep for this transaction; returns whether it has it';
