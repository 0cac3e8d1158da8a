-- A result is valid until expires_at, and only within valid_days of its business date. So a site
-- whose sandbox date is changed does not show figures of the earlier date.
create function is_result_valid(c biz.ai_cache, p_today date) returns boolean language sql volatile as $$
    select c.status = 'valid' and c.expires_at > clock_timestamp()
       and p_today between c.business_date and c.business_date + c.valid_days
$$;

comment on function is_result_valid is 'Whether a result is valid on the site''s business date';
