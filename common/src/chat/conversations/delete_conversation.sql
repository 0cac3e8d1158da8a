create type deleted_conversation as (
    outcome text,
    message_id bigint
);

comment on type deleted_conversation is
    'outcome: deleted, not_found, not_owner, or busy with the message_id of the reply in progress, '
    'which is null for the reply of a bot';

-- Locks: conversation, its rows, user, as in begin_reply.
create function delete_conversation(p_site bigint, p_user bigint, p_conversation bigint)
returns deleted_conversation language plpgsql as $$
declare
    r deleted_conversation;
    c biz.ai_conversations;
    v_messages bigint[];
begin
    select * into c from biz.ai_conversations where id = p_conversation and site_id = p_site
    for update;
    if not found then r.outcome := 'not_found'; return r; end if;
    if c.user_id <> p_user then r.outcome := 'not_owner'; return r; end if;

    -- The runs of dead replies are settled. A reply that is alive, or is being ended, remains.
    perform finish_orphaned_reply(a.id) from biz.ai_messages a
    where a.user_id = p_user and a.site_id = p_site and a.conversation_id = c.id
      and a.state = 'streaming' and a.lease_until < clock_timestamp();
    select max(a.id) into r.message_id from biz.ai_messages a
    where a.user_id = p_user and a.site_id = p_site and a.conversation_id = c.id
      and a.state = 'streaming';
    if r.message_id is not null or exists (
        select from biz.ai_trigger_jobs j where j.conversation_id = c.id and j.status = 'running')
    then
        r.outcome := 'busy';
        return r;
    end if;

    update biz.ai_trigger_jobs set status = 'cancelled', finished_at = clock_timestamp()
    where conversation_id = c.id and site_id = p_site and status = 'pending';
    update biz.ai_run_logs set request_prompt = null, response_text = null
    where conversation_id = c.id and site_id = p_site;
    delete from biz.ai_idempotency_keys where conversation_id = c.id;
    with gone as (
        delete from biz.ai_messages where conversation_id = c.id and site_id = p_site returning id
    )
    select array_agg(id) into v_messages from gone;
    delete from biz.ai_reply_segments where message_id = any (v_messages) and site_id = p_site;
    -- After the messages: feedback and reports lock their message, so that none can be added now.
    delete from biz.ai_feedback
    where user_id = p_user and site_id = p_site and subject_type = 'message'
      and subject_id = any (v_messages);
    update biz.ai_reports set text = null
    where user_id = p_user and site_id = p_site and subject_type = 'message'
      and subject_id = any (v_messages);
    delete from biz.ai_conversations where id = c.id and site_id = p_site;
    update biz.users set
        listed_conversations = listed_conversations - (c.message_count > 0)::integer,
        listed_sessions = listed_sessions - (c.bot_id is not null)::integer
    where id = p_user and site_id = p_site;
    r.outcome := 'deleted';
    return r;
end $$;

comment on function delete_conversation is
    'Deletes a conversation with all its texts, or returns the refusal that applies. Runs and '
    'reports remain, without their texts';
