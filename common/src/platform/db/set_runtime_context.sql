create function set_runtime_context(p_site bigint, p_user bigint, p_mode text, p_sandbox_date date) returns biz.sites
language plpgsql as $$
declare
    v_before biz.sites;
    s biz.sites;
begin
    select * into v_before from biz.sites where id = p_site for no key update;
    if not found then return v_before; end if;
    update biz.sites set
        runtime_mode = p_mode, sandbox_date = p_sandbox_date, runtime_updated_by = p_user, runtime_updated_at = clock_timestamp()
    where id = p_site returning * into s;
    perform audit(p_site, p_user, 'runtime_context.set', null, jsonb_build_object(
        'before', jsonb_build_object('mode', v_before.runtime_mode, 'sandbox_date', v_before.sandbox_date),
        'after', jsonb_build_object('mode', s.runtime_mode, 'sandbox_date', s.sandbox_date)));
    return s;
end $$;

comment on function set_runtime_context is 'Sets the clock of a site; nulls where there is none';
