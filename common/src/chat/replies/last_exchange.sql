create type last_exchange as (
    outcome text,
    question_id bigint,
    question_at timestamptz,
    content text,
    reply_id bigint
);

comment on type last_exchange is
    'The last question of a conversation and its reply. outcome: null, or why they cannot be '
    'replaced: not_found, not_owner, edits_reply or not_last';

create function last_exchange(
    p_site bigint,
    p_user bigint,
    p_conversation bigint,
    p_last_seq bigint,
    p_edits bigint
) returns last_exchange language plpgsql stable as $$
declare
    x last_exchange;
    m biz.ai_messages;
begin
    if p_edits is not null then
        select * into m from biz.ai_messages where id = p_edits and site_id = p_site;
        x.outcome := case
            when m.id is null then 'not_found'
            when m.user_id <> p_user then 'not_owner'
            when m.role <> 'user' then 'edits_reply' end;
        if x.outcome is not null then return x; end if;
    end if;
    select q.id, q.created_at, q.content, a.id
    into x.question_id, x.question_at, x.content, x.reply_id
    from biz.ai_messages q
    join biz.ai_messages a on a.conversation_id = q.conversation_id and a.site_id = p_site
     and a.seq = p_last_seq and a.role = 'assistant' and a.reply_to = q.id
    where q.conversation_id = p_conversation and q.site_id = p_site and q.seq = p_last_seq - 1
      and q.role = 'user'
      -- A question that an admin blocked is not asked again.
      and case when p_edits is null then q.blocked_at is null else q.id = p_edits end;
    if not found then x.outcome := 'not_last'; end if;
    return x;
end $$;

comment on function last_exchange is
    'Finds the exchange that a new one replaces. p_edits: the question that the caller named, or null';
