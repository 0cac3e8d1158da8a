-- Whether a message of a session is answered is asked of every message on a page. Replies come in the background: after
-- a thousand messages at once each is a thousand messages away, and without an index all those between are read.
create index ai_messages_reply_idx on biz.ai_messages (reply_to) where role = 'assistant';
