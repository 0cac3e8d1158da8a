create function add_up(a bigint[], b bigint[]) returns bigint[] language sql immutable strict as $$
    select array_agg(x.a + x.b order by x.place) from unnest(a, b) with ordinality as x (a, b, place)
$$;

comment on function add_up(bigint[], bigint[]) is 'Adds two histograms';

create aggregate add_up(bigint[]) (sfunc = add_up, stype = bigint[]);

comment on aggregate add_up(bigint[]) is 'Adds histograms';
