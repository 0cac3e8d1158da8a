create function visible_text(p_content text, p_blocked_at timestamptz) returns text
language sql immutable as $$
    -- One expression, so that PostgreSQL inlines it.
    select case when p_blocked_at is null then p_content else '该内容已被屏蔽' end
$$;

comment on function visible_text is 'The text of a message as lists show it: a fixed one if it is blocked';
