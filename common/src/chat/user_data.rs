//! Deletes all data of a user in the background: conversations, feedback, prompts and answers.

use chrono::{DateTime, Utc};
use serde_json::json;

use super::conversations;
use crate::{
    governance::{
        audit::{self, Action},
        auth::CACHED_FOR,
    },
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Result},
    },
};

/// Requests that a sweep works on.
const REQUESTS: i64 = 10;

/// Conversations of a user that a sweep deletes.
const CONVERSATIONS: i64 = 100;

/// Runs without a conversation that a sweep clears.
const RUNS: i32 = 1_000;

/// A request to delete the data of a user.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct Deletion {
    pub user_id: i64,
    pub requested_at: DateTime<Utc>,
    /// True if the user remains disabled afterwards.
    pub keep_disabled: bool,
}

/// Disables a user and requests the deletion of its data. The sweep deletes it. Then the user has
/// its earlier status again, unless `keep_disabled`.
///
/// A repeated request changes `keep_disabled` of the one in progress.
///
/// # Errors
/// [`Error::NotFound`], also for a user of another site. [`Error::Conflict`] if admins request it
/// for themselves, because they would be disabled.
pub async fn request_deletion(
    db: &Db,
    site_id: i64,
    admin_id: i64,
    user_id: i64,
    keep_disabled: bool,
) -> Result<Deletion> {
    if user_id == admin_id {
        return Err(Error::Conflict("admins cannot disable themselves"));
    }
    let mut tx = db.transaction().await?;
    let row = sqlx::query!(
        r#"
        with before as (
            select u.id, u.status from biz.users u where u.id = $2 and u.site_id = $1 for no key update
        ), disabled as (
            update biz.users u set status = 'disabled' from before b where u.id = b.id and u.site_id = $1
        )
        insert into biz.user_data_deletions as d
            (site_id, user_id, requested_by, keep_disabled, status_before)
        select $1, b.id, $3, $4, b.status from before b
        on conflict (user_id) where done_at is null
        do update set keep_disabled = excluded.keep_disabled
        returning d.requested_at
        "#,
        site_id,
        user_id,
        admin_id,
        keep_disabled,
    )
    .fetch_optional(&mut *tx)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    let (object_id, details) = (
        user_id.to_string(),
        json!({ "keep_disabled": keep_disabled }),
    );
    let action = Action::DeleteUserData;
    audit::record(
        &mut tx,
        action,
        site_id,
        admin_id,
        Some(&object_id),
        details,
    )
    .await?;
    tx.commit().await?;
    Ok(Deletion {
        user_id,
        requested_at: row.requested_at,
        keep_disabled,
    })
}

/// Works on open requests. Returns how many of them it completed.
///
/// A request waits until no instance accepts the user any more, because approvals are cached. A
/// conversation whose reply is being made remains until the next sweep.
pub async fn sweep(db: &Db) -> Result<i32> {
    let Some(mut tx) = db.sweep_transaction().await? else {
        return Ok(0);
    };
    let requests = sqlx::query!(
        "select id, site_id, user_id from biz.user_data_deletions
         where done_at is null and requested_at < now() - make_interval(secs => $2)
         order by id limit $1",
        REQUESTS,
        CACHED_FOR.as_secs_f64(),
    )
    .fetch_all(&mut *tx)
    .with_statement_timeout()
    .await?;
    tx.commit().await?;

    let (mut done, mut failed) = (0, None);
    for request in requests {
        match continue_deletion(db, request.id, request.site_id, request.user_id).await {
            Ok(is_done) => done += i32::from(is_done),
            // It must not delay the requests of other sites.
            Err(err) => failed = failed.or(Some(err)),
        }
    }
    failed.map_or(Ok(done), Err)
}

/// Returns true if nothing is left to delete.
async fn continue_deletion(db: &Db, id: i64, site_id: i64, user_id: i64) -> Result<bool> {
    conversations::delete_some(db, site_id, user_id, CONVERSATIONS).await?;
    sqlx::query_scalar!(
        r#"select end_user_data_deletion($1, $2) as "is_done!""#,
        id,
        RUNS
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await
}
