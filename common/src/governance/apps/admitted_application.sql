create function admitted_application(a application, p_app_id text) returns application
language plpgsql immutable as $$
begin
    a.is_fallback := p_app_id <> a.app_id;
    if a.is_fallback then
        a.app_id := p_app_id;
        a.fallback_app_id := null;
    end if;
    return a;
end $$;

comment on function admitted_application is
    'The application of a run after admit_run, which may have chosen the fallback. That has no '
    'fallback itself';
