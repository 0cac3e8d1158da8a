create type opened_reader as (
    outcome text,
    reader_id bigint
);

comment on type opened_reader is
    'outcome: opened, with the reader, or rate_limited: too many replaced readers have not ended yet';

create function open_reader(
    p_site bigint,
    p_user bigint,
    p_message bigint,
    p_most integer,
    p_most_of_reply integer,
    p_lease_seconds double precision
) returns opened_reader language plpgsql as $$
declare
    r opened_reader;
begin
    -- The lock makes sure that concurrent openings count each other.
    perform 1 from biz.users where id = p_user and site_id = p_site for no key update;
    -- Readers end by themselves when their reply has ended.
    delete from biz.ai_reply_readers d
    where d.user_id = p_user and d.site_id = p_site
      and (d.lease_until < clock_timestamp() or not exists (
          select from biz.ai_messages m
          where m.id = d.message_id and m.site_id = p_site and m.state = 'streaming'));
    -- A replaced reader holds its function until its next read. So they are limited, too.
    if (select count(*) from biz.ai_reply_readers d
        where d.user_id = p_user and d.site_id = p_site) >= 2 * p_most
    then
        r.outcome := 'rate_limited';
        return r;
    end if;
    update biz.ai_reply_readers d set is_replaced = true
    from (
        select o.id, o.message_id, row_number() over (order by o.id desc) as place,
               row_number() over (partition by o.message_id order by o.id desc) as place_of_reply
        from biz.ai_reply_readers o
        where o.user_id = p_user and o.site_id = p_site and not o.is_replaced
    ) o
    where d.id = o.id
      and (o.place >= p_most or o.message_id = p_message and o.place_of_reply >= p_most_of_reply);
    insert into biz.ai_reply_readers (site_id, user_id, message_id, lease_until)
    values (
        p_site, p_user, p_message, clock_timestamp() + make_interval(secs => p_lease_seconds))
    returning id into r.reader_id;
    r.outcome := 'opened';
    return r;
end $$;

comment on function open_reader is
    'Counts a reader of a reply that is being made. Above p_most readers of the user, or '
    'p_most_of_reply of the reply, the oldest one is replaced';
