create function zone_of(p_site bigint) returns text language plpgsql stable as $$
begin
    return coalesce((select s.timezone from biz.sites s where s.id = p_site), 'Asia/Shanghai');
end $$;

comment on function zone_of is 'The time zone of a site, or Asia/Shanghai for all sites together (null)';
