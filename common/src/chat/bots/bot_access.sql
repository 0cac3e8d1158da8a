create function bot_access(b biz.bots, p_site bigint, p_user bigint) returns text language plpgsql stable as $$
begin
    return case
        when b.id is null or (b.site_id is not null and b.site_id <> p_site) then 'unknown'
        when b.status <> 'active' then 'bot_disabled'
        when b.access = 'public'
             or exists (select from biz.bot_grants g where g.bot_id = b.id and g.user_id = p_user)
            then 'allowed'
        else 'not_granted'
    end;
end $$;

comment on function bot_access is 
    'allowed, bot_disabled, not_granted, or unknown if the user''s site has no such bot';
