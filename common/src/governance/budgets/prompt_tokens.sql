create type token_rule as (
    tokens_per_char double precision,
    most_chars bigint,
    more_chars bigint,
    rest bigint
);

comment on type token_rule is
    'How to estimate the tokens of a call, from TokenRule in Rust. most_chars: limit of a prompt; '
    'more_chars: expected length of what the statement cannot see; rest: tokens besides the prompt '
    'while the app has no average';

create function prompt_tokens(p_rule token_rule, p_chars bigint) returns bigint
language sql immutable as $$
    select ceil(
        least((p_rule).most_chars, p_chars + (p_rule).more_chars) * (p_rule).tokens_per_char
    )::bigint
$$;

comment on function prompt_tokens is
    'Estimated tokens of a prompt that has p_chars characters, besides those of the rule';
