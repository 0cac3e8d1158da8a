-- The advisory lock belongs to the session, because a run takes several transactions. If the
-- instance dies, its connection ends, and another instance gets the turn.
create function take_turn(p_name text, p_due timestamptz) returns timestamptz
language plpgsql as $$
declare
    v_lock constant bigint := hashtextextended('parlor/schedule/' || p_name, 0);
    v_due constant timestamptz := coalesce(p_due, date_trunc('minute', clock_timestamp()));
    v_last timestamptz;
begin
    if not pg_try_advisory_lock(v_lock) then
        return null;
    end if;
    -- Read after the lock was taken, so it sees the run of the previous holder.
    select r.due_at into v_last from biz.schedule_runs r where r.name = p_name;
    if not found then
        insert into biz.schedule_runs (name, due_at) values (p_name, v_due)
        on conflict on constraint schedule_runs_pkey do nothing;
        v_last := v_due;
    end if;
    if v_last >= v_due then
        perform pg_advisory_unlock(v_lock);
        return null;
    end if;
    return v_due;
end $$;

comment on function take_turn is
    'Takes the lock of a schedule if its run at p_due (null: each minute) is missing; returns that time, or null. A new schedule begins with its next time';
