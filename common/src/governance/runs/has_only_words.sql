create function has_only_words(f run_filters) returns boolean language sql immutable as $$
    select num_nonnulls(
        f.user_id, f.member_id, f.bot_id, f.error_code, f.prompt_version, f.model_id,
        f.min_latency_ms) = 0
$$;

comment on function has_only_words is 'True if no filter but app, status and trigger is set';
