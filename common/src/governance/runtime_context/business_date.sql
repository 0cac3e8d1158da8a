create function business_date(mode text, sandbox_date date, zone text) returns date
language sql stable parallel safe as $$
    select case mode when 'sandbox' then sandbox_date else local_day(zone) end
$$;

comment on function business_date is 'The business date of a runtime context: the sandbox date, or today in the time zone';
