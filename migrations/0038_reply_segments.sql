-- The text of a reply that is being made. A checkpoint adds one row with the new text, so its cost
-- does not grow with the reply. The end of the reply moves the text into the message.
set local lock_timeout = '3s';
set local statement_timeout = '5s';

-- No foreign key: it would lock the message a second time in each checkpoint. The functions that
-- end or delete a reply delete its segments, and the sweep deletes what an older build leaves.
create table biz.ai_reply_segments (
    message_id bigint not null,
    site_id bigint not null,
    from_char integer not null,
    text text not null,
    constraint ai_reply_segments_pkey primary key (message_id, from_char)
)
-- The file keeps its size after a vacuum, so that plans use the index also when it is empty.
with (vacuum_truncate = off);
comment on table biz.ai_reply_segments is
    'Text of the replies that are being made, one row for each checkpoint. An ended reply has none';
comment on column biz.ai_reply_segments.from_char is
    'Characters of the reply before this segment';

comment on column biz.ai_messages.content is
    'Text. Of a reply that is being made, the function reply_text reads it from its segments';
