create function record_circuit(p_app_id text, p_app_type text, p_run bigint, p_verdict text)
returns text language plpgsql as $$
declare
    k biz.ai_circuits;
begin
    -- A success neither changes nor locks a healthy circuit. A run that counts as neither does not
    -- lock a circuit unless it is the probe. Otherwise the sweep, which ends many runs in one
    -- transaction, would wait for circuits while it holds usage rows.
    if p_verdict = 'success' and not exists (
            select from biz.ai_circuits
            where app_id = p_app_id and (state <> 'closed' or failures > 0))
        or p_verdict = 'neither' and not exists (
            select from biz.ai_circuits where app_id = p_app_id and probe_run_id = p_run)
    then
        return null;
    end if;
    insert into biz.ai_circuits (app_id, app_type) values (p_app_id, p_app_type)
    on conflict on constraint ai_circuits_pkey do nothing;
    select * into k from biz.ai_circuits where app_id = p_app_id for update;

    if k.state = 'closed' and p_verdict = 'success' then
        update biz.ai_circuits set failures = 0 where app_id = p_app_id;
    elsif k.state = 'closed' and p_verdict = 'failure' then
        if k.failures + 1 < 5 then
            update biz.ai_circuits set failures = k.failures + 1 where app_id = p_app_id;
        else
            update biz.ai_circuits set state = 'open', app_type = p_app_type, failures = k.failures + 1,
                opened_at = clock_timestamp(), open_seconds = 60,
                retry_at = clock_timestamp() + interval '60 seconds'
            where app_id = p_app_id;
            return 'opened';
        end if;
    elsif k.state = 'half_open' and k.probe_run_id = p_run then
        if p_verdict = 'success' then
            update biz.ai_circuits set state = 'closed', failures = 0, opened_at = null,
                retry_at = null, open_seconds = 60, probe_run_id = null
            where app_id = p_app_id;
            return 'closed';
        elsif p_verdict = 'failure' then
            update biz.ai_circuits set state = 'open', failures = k.failures + 1,
                probe_run_id = null, open_seconds = least(600, k.open_seconds * 2),
                retry_at = clock_timestamp() + make_interval(secs => least(600, k.open_seconds * 2))
            where app_id = p_app_id;
            return 'opened';
        else
            -- The probe gave no result, so the next call becomes the probe.
            update biz.ai_circuits set state = 'open', probe_run_id = null,
                retry_at = clock_timestamp()
            where app_id = p_app_id;
        end if;
    end if;
    return null;
end $$;

comment on function record_circuit is
    'Counts a run as success, failure or neither. Returns opened or closed if the run changed the '
    'circuit to that state';
