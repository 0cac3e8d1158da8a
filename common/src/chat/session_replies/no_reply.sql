create function no_reply() returns text language sql immutable as $$
    select 'The reply could not be made. Please send your message again later.'
$$;

comment on function no_reply is 'What stands in the place of a reply that failed';
