create function date_range(
    p_site bigint, p_from_day date, p_from timestamptz, p_to_day date, p_to timestamptz,
    out began_at timestamptz, out ended_at timestamptz
) language plpgsql stable as $$
declare
    v_zone text := zone_of(p_site);
begin
    began_at := coalesce(p_from, p_from_day::timestamp at time zone v_zone, '-infinity');
    ended_at := coalesce(p_to + interval '1 microsecond', (p_to_day + 1)::timestamp at time zone v_zone, 'infinity');
end $$;

comment on function date_range is 'The instants of date_from and date_to of an admin request: began_at is inclusive, ended_at exclusive';
