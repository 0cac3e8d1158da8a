create function site_today(p_site bigint) returns date language plpgsql stable parallel safe as $$
begin
    return (select business_date(s.runtime_mode, s.sandbox_date, s.timezone) from biz.sites s where s.id = p_site);
end $$;

comment on function site_today is 'The business date of a site';
