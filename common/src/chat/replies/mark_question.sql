create function mark_question(
    p_site bigint,
    p_question bigint,
    p_error_code text,
    p_verdicts jsonb
) returns void language sql as $$
    update biz.ai_messages q set
        -- A question that was blocked once is never sent again (turns_before).
        error_code = case when p_error_code = 'content_blocked' then p_error_code
                          else q.error_code end,
        moderation = coalesce(nullif(p_verdicts -> 'question', 'null'), q.moderation)
    where q.id = p_question and q.site_id = p_site
$$;

comment on function mark_question is
    'Stores the verdicts on a question, and marks it if it or its reply was blocked';
