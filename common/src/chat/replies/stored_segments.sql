create function stored_segments(p_site bigint, p_message bigint) returns text
language sql stable as $$
    select array_to_string(array(
        select s.text from biz.ai_reply_segments s
        where s.message_id = p_message and s.site_id = p_site order by s.from_char), '')
$$;

comment on function stored_segments is
    'The text that checkpoints have stored of a reply that is being made';
