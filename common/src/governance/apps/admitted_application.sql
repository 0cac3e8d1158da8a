create function admitted_application(a application, p_app_id text) returns application
language plpgsql as $$
begin
    a.is_fallback := p_app_id <> a.app_id;
    a.app_id := p_app_id;
    -- Without a fallback, throttling is retried. So a fallback that is out of service is left out.
    if a.is_fallback or circuit_retry_at(a.fallback_app_id) is not null then
        a.fallback_app_id := null;
    end if;
    return a;
end $$;

comment on function admitted_application is
    'The application of a run after admit_run, which may have chosen the fallback. That has no '
    'fallback itself';
