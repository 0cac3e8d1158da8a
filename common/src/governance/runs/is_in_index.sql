create function is_in_index(f run_filters) returns boolean language sql immutable as $$
    select word_filters(f) = 0 and num_nonnulls(f.prompt_version, f.min_latency_ms) = 0
       and num_nonnulls(f.user_id, f.member_id, f.bot_id, f.error_code, f.model_id) = 1
$$;

comment on function is_in_index is
    'True if walk_runs has no other filter to check than that of its index';
