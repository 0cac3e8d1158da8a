-- A build that knows no segments ends an orphaned reply of this build as `failed` and without its
-- text, and leaves the segments. Locks: conversation, message, as in block_message.
create function fold_left_segments(p_site bigint, p_message bigint) returns boolean
language plpgsql as $$
declare
    m biz.ai_messages;
    v_text text;
begin
    select * into m from biz.ai_messages where id = p_message and site_id = p_site;
    if found then
        -- As in finish_orphaned_reply: do not wait. The next sweep tries again.
        perform 1 from biz.ai_conversations
        where id = m.conversation_id and site_id = p_site for no key update skip locked;
        if not found then return false; end if;
    end if;
    with parts as (
        delete from biz.ai_reply_segments s where s.message_id = p_message and s.site_id = p_site
        returning s.from_char, s.text
    )
    select string_agg(p.text, '' order by p.from_char) into v_text from parts p;
    update biz.ai_messages set content = v_text, state = 'interrupted'
    where id = p_message and site_id = p_site and state = 'failed' and error_code = 'interrupted'
      and content = '' and v_text <> '';
    if not found then return false; end if;
    update biz.ai_run_logs set response_text = v_text
    where message_id = m.id and site_id = p_site and created_at >= m.created_at;
    update biz.ai_conversations set
        last_message_id = m.id,
        last_message_role = 'assistant',
        last_message_preview = left(v_text, 100),
        last_message_at = m.created_at
    where id = m.conversation_id and site_id = p_site and m.seq > 0
      and coalesce(last_message_id, 0) < m.id;
    return true;
end $$;

comment on function fold_left_segments is
    'Deletes the segments of a reply that has ended or was deleted. Returns true if they were the '
    'text of a reply that an older build ended without it';
