create function period_days(p_period text, p_today date, out first_day date, out last_day date)
language plpgsql immutable parallel safe as $$
declare
    v_named daterange := case p_period
        when 'today' then daterange(p_today, p_today, '[]')
        when 'yesterday' then daterange(p_today - 1, p_today - 1, '[]')
        when 'this_week' then daterange(date_trunc('week', p_today)::date, p_today, '[]')
        when 'last_week' then daterange(date_trunc('week', p_today)::date - 7, date_trunc('week', p_today)::date - 1, '[]')
        when 'this_month' then daterange(date_trunc('month', p_today)::date, p_today, '[]')
        when 'last_month' then daterange((date_trunc('month', p_today) - interval '1 month')::date, date_trunc('month', p_today)::date - 1, '[]')
        when 'last_3_months' then daterange((date_trunc('month', p_today) - interval '3 months')::date, date_trunc('month', p_today)::date - 1, '[]')
        when 'last_6_months' then daterange((date_trunc('month', p_today) - interval '6 months')::date, date_trunc('month', p_today)::date - 1, '[]')
    end;
begin
    first_day := coalesce(lower(v_named), 'infinity');
    last_day := coalesce(upper(v_named) - 1, '-infinity');
end $$;

comment on function period_days is
    'First and last day of a period: today, yesterday, this_week, last_week, this_month, '
    'last_month, last_3_months or last_6_months. An empty range for any other word';
