-- The rest is the answer, the application's own prompt, its knowledge base and the session.
create function rest_tokens(p_site bigint, p_app_type text, p_default bigint) returns bigint
language plpgsql stable as $$
declare
    -- A variable, because the planner does not take the expression for an index condition.
    v_since date := current_date - 7;
    v_average bigint;
begin
    select sum(u.rest_tokens) / nullif(sum(u.rest_calls), 0) into v_average
    from (
        select recent.rest_tokens, recent.rest_calls
        from (
            -- The limit, which the week never reaches, makes the plan use the index.
            select d.day, d.rest_tokens, d.rest_calls from biz.ai_usage_daily d
            where d.site_id = p_site and d.app_type = p_app_type and d.day > v_since
            order by d.day desc limit 10
        ) recent
        where recent.rest_calls > 0
        order by recent.day desc limit 2
    ) u;
    -- The bound keeps a few huge answers from closing a site whose budget is not used up.
    return least(coalesce(v_average, p_default), 10 * p_default);
end $$;

comment on function rest_tokens is
    'Average tokens of an app''s calls besides their prompts, on the last two days with calls of '
    'this week; p_default without calls, at most 10 times p_default';
