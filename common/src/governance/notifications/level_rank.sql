create function level_rank(p_level text) returns integer language sql immutable parallel safe as $$
    select array_position(array['info', 'warning', 'critical'], p_level)
$$;

comment on function level_rank is 'Orders the levels of notifications: the more urgent, the larger';
