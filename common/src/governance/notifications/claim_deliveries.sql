create function claim_deliveries(p_limit integer, p_lease_seconds integer, p_max_tries integer)
returns setof biz.notification_deliveries language plpgsql as $$
declare
    n biz.notification_channels;
    v_left integer := p_limit;
    v_claimed integer;
    v_held bigint;
begin
    -- The lock of a channel makes the hourly cap exact. Another function skips the channel.
    for n in
        select * from biz.notification_channels c
        where c.enabled and c.url is not null and (
            exists (
                select from biz.notification_deliveries d
                where d.channel_id = c.id and d.state = 'pending' and d.next_at <= now())
            or exists (
                select from biz.notification_deliveries d
                where d.channel_id = c.id and d.state = 'held'))
        order by c.id for no key update skip locked
    loop
        exit when v_left <= 0;
        update biz.notification_deliveries d set
            state = 'failed', ok = false, detail = coalesce(d.detail, '发送时中断')
        where d.channel_id = n.id and d.state = 'pending' and d.next_at <= now()
          and (d.tries >= p_max_tries or d.created_at < now() - interval '1 day');

        update biz.notification_deliveries d set state = 'held'
        where d.channel_id = n.id and d.state = 'pending' and d.next_at <= now()
          and d.event in ('opened', 'recovered')
          and (n.muted_until > now() or d.id in (
              select w.id from biz.notification_deliveries w
              where w.channel_id = n.id and w.state = 'pending' and w.tries = 0
                and w.event in ('opened', 'recovered')
              order by w.id
              offset greatest(0, n.hourly_cap - (
                  select count(*) from biz.notification_deliveries t
                  where t.channel_id = n.id and t.tried_at > now() - interval '1 hour'
                    and t.event <> 'summary'))));

        if n.muted_until is null or n.muted_until <= now() then
            if not exists (
                select from biz.notification_deliveries d
                where d.channel_id = n.id and d.event = 'summary'
                  and d.created_at > now() - interval '1 hour')
            then
                update biz.notification_deliveries d set state = 'summarised'
                where d.channel_id = n.id and d.state = 'held';
                get diagnostics v_held = row_count;
                if v_held > 0 then
                    insert into biz.notification_deliveries (
                        site_id, channel_id, event, held, next_at)
                    values (n.site_id, n.id, 'summary', v_held, now());
                end if;
            end if;
        end if;

        return query
        with due as (
            select d.id from biz.notification_deliveries d
            where d.channel_id = n.id and d.state = 'pending' and d.next_at <= now()
            order by d.id limit v_left
        )
        update biz.notification_deliveries d set
            tries = d.tries + 1, tried_at = clock_timestamp(), ok = null,
            next_at = clock_timestamp() + make_interval(secs => p_lease_seconds)
        from due where d.id = due.id
        returning d.*;
        get diagnostics v_claimed = row_count;
        v_left := v_left - v_claimed;
    end loop;
end $$;

comment on function claim_deliveries is
    'Leases due deliveries. Holds back those over the hourly cap or of a muted channel, and counts '
    'them in one summary per channel and hour. Test messages and summaries ignore the cap';
