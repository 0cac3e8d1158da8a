create type model_usage as (
    model_id text,
    input_tokens bigint,
    output_tokens bigint,
    cost bigint
);

comment on type model_usage is
    'Tokens that a run used of a model. cost: in millionths of a yuan, null if the model has no '
    'price. Without cost, same fields as ModelUsage in Rust';

create type run_cost as (
    models model_usage[],
    cost bigint
);

comment on type run_cost is 'cost: the sum, null if a model has no price';

-- A price in yuan per million tokens times tokens is in millionths of a yuan. The sum of a run is
-- rounded once, half up. Each model gets the increase of the rounded sum, so that the costs of the
-- models add up to that of the run.
create function costs_of_models(p_site bigint, p_at timestamptz, p_models model_usage[])
returns run_cost language plpgsql stable as $$
declare
    m model_usage;
    v_before numeric := 0;
    v_sum numeric;
    r run_cost;
begin
    r.models := '{}';
    r.cost := 0;
    foreach m in array coalesce(p_models, '{}') loop
        select v_before + m.input_tokens * p.input_per_million[t.place]
               + m.output_tokens * p.output_per_million[t.place]
        into v_sum
        from biz.sites s
        join biz.ai_prices p
            on p.model = m.model_id and p.valid_from <= local_day(s.timezone, p_at)
        -- The number of bounds below the input tokens, and one.
        cross join lateral (
            select width_bucket(m.input_tokens - 1, p.up_to_input_tokens) + 1 as place
        ) t
        where s.id = p_site
        order by p.valid_from desc limit 1;
        m.cost := round(v_sum) - round(v_before);
        v_before := coalesce(v_sum, v_before);
        r.models := r.models || m;
        r.cost := r.cost + m.cost;
    end loop;
    return r;
end $$;

comment on function costs_of_models is
    'Adds the costs, by the prices of the site''s day at p_at. The tier is that of the model''s input '
    'tokens';
