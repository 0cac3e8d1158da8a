//! What admins do with a job that has not ended: cancel it, or run it now.

use serde_json::json;
use sqlx::PgConnection;

use super::list::Status;
use crate::{
    governance::audit::{self, Action},
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Result},
    },
};

/// Cancels a job: a pending one at once, a running one after its step. Idempotent while the job
/// runs. Returns the status of the job, [`Status::Cancelled`] or [`Status::Running`].
///
/// # Errors
/// [`Error::NotFound`], also for a job of another site. [`Error::Conflict`] if the job has ended,
/// and for the reply to a message of a session, because its user waits for it.
pub async fn cancel(db: &Db, site_id: i64, user_id: i64, id: i64) -> Result<Status> {
    let mut tx = db.transaction().await?;
    let job = lock(&mut tx, site_id, id).await?;
    if !matches!(job.status, Status::Pending | Status::Running) {
        return Err(Error::Conflict("The job has ended"));
    }
    if job.is_reply {
        return Err(Error::Conflict("A user waits for this reply"));
    }
    if job.cancel_requested {
        return Ok(job.status);
    }
    let status = sqlx::query_scalar!(
        "update biz.ai_trigger_jobs set
             status = case status when 'pending' then 'cancelled' else status end,
             finished_at = case status when 'pending' then clock_timestamp() end,
             cancel_requested_at = case status when 'running' then clock_timestamp() end
         where id = $2 and site_id = $1
         returning status",
        site_id,
        id,
    )
    .fetch_one(&mut *tx)
    .with_statement_timeout()
    .await?;
    let action = Action::CancelTriggerJob;
    record(&mut tx, action, site_id, user_id, id, &job).await?;
    tx.commit().await?;
    Status::from_sql(&status, "biz.ai_trigger_jobs")
}

/// Makes a pending job due. If its budget or circuit still refuses it, it waits again.
///
/// # Errors
/// [`Error::NotFound`], also for a job of another site. [`Error::Conflict`] if the job is not
/// pending.
pub async fn run_now(db: &Db, site_id: i64, user_id: i64, id: i64) -> Result<()> {
    let mut tx = db.transaction().await?;
    let job = lock(&mut tx, site_id, id).await?;
    if job.status != Status::Pending {
        return Err(Error::Conflict("The job is not pending"));
    }
    sqlx::query!(
        "update biz.ai_trigger_jobs
         set run_after = least(run_after, now()), waits_for = null, waits_on = null
         where id = $2 and site_id = $1",
        site_id,
        id,
    )
    .execute(&mut *tx)
    .with_statement_timeout()
    .await?;
    let action = Action::RunTriggerJobNow;
    record(&mut tx, action, site_id, user_id, id, &job).await?;
    tx.commit().await
}

struct LockedJob {
    status: Status,
    is_reply: bool,
    waits_for: Option<String>,
    cancel_requested: bool,
}

async fn lock(tx: &mut PgConnection, site_id: i64, id: i64) -> Result<LockedJob> {
    let job = sqlx::query!(
        r#"
        select status, message_id is not null as "is_reply!", waits_for::text,
               cancel_requested_at is not null as "cancel_requested!"
        from biz.ai_trigger_jobs where site_id = $1 and id = $2 for no key update
        "#,
        site_id,
        id,
    )
    .fetch_optional(tx)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    Ok(LockedJob {
        status: Status::from_sql(&job.status, "biz.ai_trigger_jobs")?,
        is_reply: job.is_reply,
        waits_for: job.waits_for,
        cancel_requested: job.cancel_requested,
    })
}

async fn record(
    tx: &mut PgConnection,
    action: Action,
    site_id: i64,
    user_id: i64,
    id: i64,
    job: &LockedJob,
) -> Result<()> {
    let details = json!({ "waits_for": job.waits_for });
    let object_id = id.to_string();
    audit::record(tx, action, site_id, user_id, Some(&object_id), details).await
}
