create function word_filters(f run_filters) returns integer language sql immutable as $$
    select (cardinality(f.apps) = 1)::integer + (cardinality(f.statuses) = 1)::integer
         + (cardinality(f.triggers) = 1)::integer
$$;

comment on function word_filters is 'How many of the columns app, status and trigger are filtered';
