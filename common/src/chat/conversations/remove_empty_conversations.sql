create function remove_empty_conversations(
    p_site bigint,
    p_user bigint,
    p_keep integer
) returns void language plpgsql as $$
declare
    v_sessions bigint;
begin
    -- A locked conversation is getting its first message.
    with removed as (
        delete from biz.ai_conversations c
        where c.id = any (array(
            select e.id from biz.ai_conversations e
            where e.site_id = p_site and e.user_id = p_user and e.message_count = 0
            order by e.last_active_at desc offset p_keep for update skip locked))
          and c.site_id = p_site
        returning c.bot_id
    )
    select count(r.bot_id) into v_sessions from removed r;
    if v_sessions > 0 then
        update biz.users set listed_sessions = listed_sessions - v_sessions
        where id = p_user and site_id = p_site;
    end if;
end $$;

comment on function remove_empty_conversations is
    'Deletes the conversations of a user that have no message, except for the newest p_keep';
