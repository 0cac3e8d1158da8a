-- In a transaction of its own: it waits for whoever writes, who might wait for what was filled in.
alter table biz.ai_conversations add constraint ai_conversations_last_message_whole
    check (num_nulls(last_message_id, last_message_role, last_message_preview, last_message_at) in (0, 4));
