create type turns as (
    roles text[],
    texts text[]
);

comment on type turns is 'Turns of a conversation, newest first: role and text of each';

create function turns_before(
    p_site bigint,
    p_conversation bigint,
    p_seq bigint,
    p_turns integer
) returns turns
language plpgsql stable as $$
declare
    r turns;
begin
    select array_agg(h.role), array_agg(h.content) into r.roles, r.texts
    from (
        -- A prompt has at most 30,000 characters. `left` has to count characters, so it is called
        -- only for long texts.
        select a.role::text,
               case when octet_length(reply_text(a)) > 30000 then left(reply_text(a), 30000)
                    else reply_text(a) end as content
        from biz.ai_messages a
        where a.conversation_id = p_conversation and a.site_id = p_site
          -- A superseded message has a negative number.
          and a.seq < p_seq and a.seq > 0
          and a.role <> 'system' and reply_text(a) <> '' and a.state <> 'failed'
          -- A question that DashScope blocked would block every later prompt.
          and a.error_code is distinct from 'content_blocked' and a.blocked_at is null
        order by a.seq desc limit p_turns
    ) h;
    return r;
end $$;

comment on function turns_before is
    'The last p_turns turns before a place in a conversation, newest first; nulls if there are none';
