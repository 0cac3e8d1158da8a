create function reply_text(m biz.ai_messages) returns text language sql stable as $$
    -- One expression without a query, so that PostgreSQL inlines it. `content` is not empty if an
    -- older build makes the reply.
    select case when m.state = 'streaming' then m.content || stored_segments(m.site_id, m.id)
                else m.content end
$$;

comment on function reply_text is
    'The text of a message. Of a reply that is being made, the text up to its last checkpoint';
