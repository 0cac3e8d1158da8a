-- A result holds until it expires by the clock, and only near the business date for which it was made: a
-- site whose sandbox is set to another date gets no figures of this one.
create function is_result_valid(c biz.ai_cache, p_today date) returns boolean language sql volatile as $$
    select c.status = 'valid' and c.expires_at > clock_timestamp()
       and p_today between c.business_date and c.business_date + c.valid_days
$$;

comment on function is_result_valid is 'Whether a result is still good on the site''s business date';
