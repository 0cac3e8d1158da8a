-- Ends the replies whose maker is dead: what was said is kept, the run is settled.
create function biz.sweep_replies(p_limit integer default 200) returns integer
language plpgsql as $$
declare
    v_ended integer;
begin
    -- One at a time: a second sweep would only wait for the rows of the first.
    if not pg_try_advisory_xact_lock(hashtextextended('parlor/sweep_replies', 0)) then
        return 0;
    end if;
    with dead as (
        select m.id, m.site_id, m.content, m.created_at
        from biz.ai_messages m
        where m.state = 'streaming' and m.lease_until < now()
        order by m.lease_until
        limit p_limit
        for update skip locked
    ), ended as (
        select biz.finish_reply(
            p_site => dead.site_id, p_message => dead.id, p_run => l.id, p_run_at => l.created_at,
            p_state => case dead.content when '' then 'failed' else 'interrupted' end, p_run_status => 'failed',
            p_saved_chars => char_length(dead.content), p_unsaved => '',
            p_tokens_in => null, p_tokens_out => null, p_charge_unknown => true,
            p_session_id => null, p_session_lost => false, p_prompt => null, p_prompt_version => l.prompt_version,
            p_first_token_ms => null,
            p_latency_ms => (extract(epoch from now() - dead.created_at) * 1000)::bigint,
            p_attempts => l.attempts, p_upstream_request_id => null,
            p_error_code => 'interrupted', p_error_message => 'whoever made the reply died',
            p_circuit => 'neither') as finished
        from dead
        left join biz.ai_run_logs l on l.message_id = dead.id and l.status = 'running' and l.created_at >= dead.created_at
    )
    select count(*) filter (where (finished).applied) into v_ended from ended;
    return v_ended;
end $$;
comment on function biz.sweep_replies is 'Ends replies whose lease has run out; says how many';
