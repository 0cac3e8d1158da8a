create type application as (
    app_id text,
    fallback_app_id text,
    is_fallback boolean,
    options jsonb,
    first_token_seconds integer,
    max_per_second integer
);

comment on type application is
    'The DashScope application that an app calls. app_id is null if the app is disabled or has no '
    'application id. is_fallback: true if app_id is the fallback. options: members of the parameters '
    'of a request, null if not set. Same fields as Application in Rust, which reads it as JSON';

-- Two index lookups in a statement that the caller runs anyway, so a change applies at once.
create function application_of(p_site bigint, p_app_type text, p_environment_id text)
returns application language plpgsql stable as $$
declare
    a application;
begin
    select case when coalesce(own.enabled, standard.enabled, true)
               then coalesce(own.application_id, standard.application_id, p_environment_id) end,
           coalesce(own.fallback_application_id, standard.fallback_application_id),
           false,
           jsonb_build_object(
               'rag_options', coalesce(own.rag_options, standard.rag_options),
               'flow_stream_mode', coalesce(own.flow_stream_mode, standard.flow_stream_mode),
               'has_thoughts', coalesce(own.has_thoughts, standard.has_thoughts)),
           coalesce(own.first_token_seconds, standard.first_token_seconds),
           coalesce(own.max_per_second, standard.max_per_second)
    into a
    from (select) one
    left join biz.ai_apps own on own.site_id = p_site and own.app_type = p_app_type
    left join biz.ai_apps standard on standard.site_id is null and standard.app_type = p_app_type;
    a.fallback_app_id := nullif(a.fallback_app_id, a.app_id);
    return a;
end $$;

comment on function application_of is
    'The application of an app at a site: the site''s row, then the default row, then the '
    'environment, column by column';
