create function finish_session_reply(
    p_site bigint,
    p_job bigint,
    p_claim integer,
    p_run bigint,
    p_run_at timestamptz,
    p_end jsonb,
    p_verdicts jsonb default null
) returns finished_run language plpgsql as $$
declare
    e run_end := jsonb_populate_record(null::run_end, p_end);
    r finished_run;
begin
    r.applied := true;
    if e.status = 'success' then
        r.applied := end_session_reply(
            p_site => p_site, p_job => p_job, p_claim => p_claim, p_state => 'complete',
            p_content => e.response, p_tokens => e.tokens_in + e.tokens_out,
            p_session_id => e.session_id, p_session_lost => e.session_lost,
            p_error_code => null, p_error_message => null,
            p_references => nullif(e.doc_references, '[]'), p_verdicts => p_verdicts);
    else
        -- It is unknown what DashScope stored of an unfinished turn. So the next try sends the
        -- history.
        update biz.ai_conversations c set dashscope_session_id = null
        from biz.ai_trigger_jobs j
        where j.id = p_job and j.site_id = p_site and c.id = j.conversation_id and c.site_id = p_site;
    end if;
    r.circuit := (finish_run(p_site, p_run, p_run_at, e)).circuit;
    return r;
end $$;

comment on function finish_session_reply is
    'Settles the run of a bot''s reply; stores the reply if the run succeeded and the caller still '
    'owns the job';
