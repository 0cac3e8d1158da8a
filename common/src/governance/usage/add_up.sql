create function add_up(a bigint[], b bigint[]) returns bigint[] language plpgsql immutable as $$
begin
    a := coalesce(a, array_fill(0::bigint, array[cardinality(latency_bounds()) + 1]));
    if cardinality(b) > 0 then
        for place in array_lower(b, 1)..array_upper(b, 1) loop
            a[place] := coalesce(a[place], 0) + coalesce(b[place], 0);
        end loop;
    end if;
    return a;
end $$;

comment on function add_up(bigint[], bigint[]) is
    'Adds biz.latency_buckets b to a. If a is null, the sum has all buckets and no null';

create aggregate add_up(bigint[]) (sfunc = add_up, stype = bigint[]);

comment on aggregate add_up(bigint[]) is 'Adds biz.latency_buckets. The sum has all buckets';
