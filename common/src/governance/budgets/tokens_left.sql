create function tokens_left(p_site bigint) returns bigint language plpgsql stable as $$
declare
    b budget_state := budget_of(p_site);
begin
    if b.daily_cost >= b.daily_cost_limit or b.monthly_cost >= b.monthly_cost_limit then
        return 0;
    end if;
    return greatest(0, least(b.daily_limit - b.daily_used, b.monthly_limit - b.monthly_used));
end $$;

comment on function tokens_left is
    'Tokens left in a site''s budget: of the day or of the month, whichever is less. 0 if a limit of '
    'cost is reached';
