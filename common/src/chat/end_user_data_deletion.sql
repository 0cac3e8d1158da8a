-- Locks: the deletion, the rows of the user, the user.
create function end_user_data_deletion(p_deletion bigint, p_runs integer)
returns boolean language plpgsql as $$
declare
    d biz.user_data_deletions;
    v_runs bigint;
begin
    select * into d from biz.user_data_deletions where id = p_deletion and done_at is null
    for update;
    if not found then return false; end if;
    if exists (select from biz.ai_conversations c
               where c.site_id = d.site_id and c.user_id = d.user_id)
    then
        return false;
    end if;

    -- The texts of the other runs were deleted with their conversation. The conversation of older
    -- runs is unknown.
    with some_runs as (
        select r.id, r.created_at from biz.ai_run_logs r
        where r.site_id = d.site_id and r.user_id = d.user_id
          and (r.request_prompt is not null or r.response_text is not null)
        limit p_runs
    ), cleared as (
        update biz.ai_run_logs r set request_prompt = null, response_text = null
        from some_runs s where r.id = s.id and r.created_at = s.created_at returning 1
    )
    select count(*) into v_runs from cleared;
    if v_runs = p_runs then return false; end if;

    delete from biz.ai_feedback where user_id = d.user_id and site_id = d.site_id;
    update biz.ai_reports set text = null
    where user_id = d.user_id and site_id = d.site_id and text is not null;
    -- An admin may have changed the status since.
    update biz.users set status = d.status_before
    where id = d.user_id and site_id = d.site_id and status = 'disabled' and not d.keep_disabled;
    update biz.user_data_deletions set done_at = clock_timestamp() where id = d.id;
    return true;
end $$;

comment on function end_user_data_deletion is
    'Deletes what a user without conversations still has, and ends the request. False if there is '
    'more: a conversation, or p_runs runs';
