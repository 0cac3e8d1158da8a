-- Values that look random, from the hash of a key: from 0 to 1, and one of a list.
create or replace function pg_temp.chance(key text) returns double precision language sql immutable as $$
    select (hashtextextended(key, 0) & 2147483647) / 2147483648.0
$$;
create or replace function pg_temp.choice(key text, choices text[]) returns text language sql immutable as $$
    select choices[1 + floor(pg_temp.chance(key) * cardinality(choices))::integer]
$$;
