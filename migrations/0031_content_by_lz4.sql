-- A checkpoint writes the whole of a reply anew: by lz4 that takes half the time of PostgreSQL's own method once the text is some
-- kilobytes long. What is stored stays as it is until it is written again; a server without lz4 goes on as before.
do $$ begin
    alter table biz.ai_messages alter column content set compression lz4;
exception
    when feature_not_supported then null;
end $$;
