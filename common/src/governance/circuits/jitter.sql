create function jitter() returns interval language sql volatile as $$
    select random() * interval '5 seconds'
$$;

comment on function jitter is
    'Up to 5 seconds, so that jobs that wait for the same circuit do not come back at once';
