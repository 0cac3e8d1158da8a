create function tokens_left(p_site bigint) returns bigint language plpgsql stable as $$
declare
    b budget_state := budget_of(p_site);
begin
    return greatest(0, least(b.daily_limit - b.daily_used, b.monthly_limit - b.monthly_used));
end $$;

comment on function tokens_left is 'Tokens left in a site''s budget: of the day or of the month, whichever is less';
