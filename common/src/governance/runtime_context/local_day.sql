create function local_day(zone text, at timestamptz default now()) returns date
language sql stable parallel safe as $$ select (at at time zone zone)::date $$;

comment on function local_day is 'The calendar day of an instant in a time zone';
