//! What admins do with a pending job: cancel it, or run it now.

use serde_json::json;
use sqlx::PgConnection;

use crate::{
    governance::audit::{self, Action},
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Result},
    },
};

/// Cancels a pending job.
///
/// # Errors
/// [`Error::NotFound`], also for a job of another site. [`Error::Conflict`] if the job is not
/// pending, and for the reply to a message of a session, because its user waits for it.
pub async fn cancel(db: &Db, site_id: i64, user_id: i64, id: i64) -> Result<()> {
    let mut tx = db.transaction().await?;
    let job = lock_pending(&mut tx, site_id, id).await?;
    if job.is_reply {
        return Err(Error::Conflict("A user waits for this reply"));
    }
    sqlx::query!(
        "update biz.ai_trigger_jobs set finished_at = clock_timestamp(), status = 'cancelled'
         where id = $2 and site_id = $1",
        site_id,
        id,
    )
    .execute(&mut *tx)
    .with_statement_timeout()
    .await?;
    let action = Action::CancelTriggerJob;
    record(&mut tx, action, site_id, user_id, id, job.waits_for).await?;
    tx.commit().await
}

/// Makes a pending job due. If its budget or circuit still refuses it, it waits again.
///
/// # Errors
/// [`Error::NotFound`], also for a job of another site. [`Error::Conflict`] if the job is not
/// pending.
pub async fn run_now(db: &Db, site_id: i64, user_id: i64, id: i64) -> Result<()> {
    let mut tx = db.transaction().await?;
    let job = lock_pending(&mut tx, site_id, id).await?;
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
    record(&mut tx, action, site_id, user_id, id, job.waits_for).await?;
    tx.commit().await
}

struct Pending {
    is_reply: bool,
    waits_for: Option<String>,
}

async fn lock_pending(tx: &mut PgConnection, site_id: i64, id: i64) -> Result<Pending> {
    let job = sqlx::query!(
        r#"
        select status, message_id is not null as "is_reply!", waits_for::text
        from biz.ai_trigger_jobs where site_id = $1 and id = $2 for no key update
        "#,
        site_id,
        id,
    )
    .fetch_optional(tx)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    if job.status != "pending" {
        return Err(Error::Conflict("The job is not pending"));
    }
    Ok(Pending {
        is_reply: job.is_reply,
        waits_for: job.waits_for,
    })
}

async fn record(
    tx: &mut PgConnection,
    action: Action,
    site_id: i64,
    user_id: i64,
    id: i64,
    waits_for: Option<String>,
) -> Result<()> {
    let details = json!({ "waits_for": waits_for });
    let object_id = id.to_string();
    audit::record(tx, action, site_id, user_id, Some(&object_id), details).await
}
