create function turns_length(p_turns turns) returns bigint language sql immutable as $$
    select coalesce(sum(char_length(t.content)), 0) from unnest(p_turns.texts) t (content)
$$;

comment on function turns_length is 'Characters of the texts of turns';
