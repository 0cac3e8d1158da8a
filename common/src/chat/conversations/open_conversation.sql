-- Finds or creates the conversation of a user for a context.
--
-- The first query takes no lock, because nearly every call finds the conversation. Otherwise the
-- function takes the lock and repeats the query. Each statement of a function has its own snapshot,
-- so the second query sees rows that the previous owner of the lock committed.
create function open_conversation(
    p_site bigint,
    p_user bigint,
    p_context_type text,
    p_context_id text,
    p_reuse_seconds double precision,
    p_most_empty integer
) returns bigint language plpgsql as $$
declare
    v_today date := (
        select business_date(s.runtime_mode, s.sandbox_date, s.timezone) from biz.sites s where s.id = p_site
    );
    v_id bigint;
    v_is_idle boolean;
begin
    for v_attempt in 1 .. 2 loop
        select c.id, c.message_count = 0 and c.last_active_at < now() - interval '1 hour'
        into v_id, v_is_idle
        from biz.ai_conversations c
        where c.site_id = p_site and c.user_id = p_user
          and c.context_type = p_context_type and c.context_id = p_context_id
          and c.status = 'active'
          and case p_context_type
                  when 'task' then true
                  when 'board' then c.business_date = v_today
                  else c.last_active_at > now() - make_interval(secs => p_reuse_seconds)
              end
        order by c.last_active_at desc
        limit 1;
        if found and v_is_idle then
            -- The sweep deletes it a day after its last use.
            update biz.ai_conversations set last_active_at = clock_timestamp()
            where id = v_id and site_id = p_site;
        end if;
        if found then
            return v_id;
        end if;
        exit when v_attempt = 2;
        perform pg_advisory_xact_lock(
            hashtextextended(format('conversation/%s/%s/%s/%s', p_site, p_user, p_context_type, p_context_id), 0));
    end loop;

    insert into biz.ai_conversations as c (site_id, user_id, context_type, context_id, business_date, last_active_at)
    values (p_site, p_user, p_context_type, p_context_id, case p_context_type when 'board' then v_today end, clock_timestamp())
    returning c.id into v_id;
    perform remove_empty_conversations(p_site, p_user, p_most_empty);
    return v_id;
end $$;

comment on function open_conversation is
    'Returns the conversation of a user for a context: the current one, or a new one';
