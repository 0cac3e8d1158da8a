create function no_reply() returns text language sql immutable as $$
    select 'The reply could not be made. Please send your message again later.'
$$;

comment on function no_reply is 'Text of the message that replaces a failed reply';
