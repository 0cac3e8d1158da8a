//! Queues a job again at the request of an admin.

use serde_json::json;
use sqlx::PgConnection;

use crate::{
    governance::audit::{self, Action},
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Result},
    },
};

/// Queues a job again, forced. It starts at the step that failed, or at the first step if the job
/// did not fail. Returns the id of the new job.
///
/// # Errors
/// [`Error::NotFound`], also for a job of another site. [`Error::Conflict`] if the job or one of
/// its retries is pending or running, and for the reply to a message of a session.
pub async fn retry(db: &Db, site_id: i64, user_id: i64, id: i64) -> Result<i64> {
    let mut tx = db.transaction().await?;
    let first = lock_first(&mut tx, site_id, id).await?;
    let job = sqlx::query!(
        r#"
        with recursive family (id, status) as (
            select o.id, o.status from biz.ai_trigger_jobs o where o.id = $3 and o.site_id = $1
            union all
            select o.id, o.status from family f join biz.ai_trigger_jobs o on o.retry_of = f.id and o.site_id = $1
        )
        select j.message_id is not null as "is_reply!",
               exists (select from family where status in ('pending', 'running')) as "is_under_way!"
        from biz.ai_trigger_jobs j where j.id = $2 and j.site_id = $1
        "#,
        site_id,
        id,
        first,
    )
    .fetch_one(&mut *tx)
    .with_statement_timeout()
    .await?;
    // The conversation may have newer messages. A late reply would be out of order, also in the
    // session of DashScope. The user can send the message again instead.
    if job.is_reply {
        return Err(Error::Conflict("A message has only one reply"));
    }
    if job.is_under_way {
        return Err(Error::Conflict(
            "The job or a retry of it is pending or running",
        ));
    }
    let (new_id, step) = queue_again(&mut tx, site_id, id).await?;
    let (action, object_id) = (Action::RetryTriggerJob, id.to_string());
    let details = json!({ "id": new_id, "step": step });
    audit::record(&mut tx, action, site_id, user_id, Some(&object_id), details).await?;
    tx.commit().await?;
    Ok(new_id)
}

/// Locks the first job of a chain of retries, and returns its id. At most one job of the chain may
/// be pending or running, even if two admins retry different jobs of it at once.
async fn lock_first(tx: &mut PgConnection, site_id: i64, id: i64) -> Result<i64> {
    let first = sqlx::query_scalar!(
        r#"
        with recursive earlier (id, retry_of) as (
            select o.id, o.retry_of from biz.ai_trigger_jobs o where o.id = $2 and o.site_id = $1
            union all
            select o.id, o.retry_of from earlier e join biz.ai_trigger_jobs o on o.id = e.retry_of and o.site_id = $1
        )
        select e.id as "id!" from earlier e where e.retry_of is null
        "#,
        site_id,
        id,
    )
    .fetch_optional(&mut *tx)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    // A bulk retry locks only the job itself.
    sqlx::query!(
        "select from biz.ai_trigger_jobs where site_id = $1 and id in ($2, $3) order by id for no key update",
        site_id,
        first,
        id,
    )
    .fetch_all(tx)
    .with_statement_timeout()
    .await?;
    Ok(first)
}

/// Inserts the new job, and returns its id and first step. Steps before it are skipped while their
/// results are valid: see `advance_job`.
async fn queue_again(tx: &mut PgConnection, site_id: i64, id: i64) -> Result<(i64, i32)> {
    let job = sqlx::query!(
        "insert into biz.ai_trigger_jobs
             (site_id, event_type, connector_type, trigger_type, member_id, payload, app_chain, step, is_forced, retry_of)
         select j.site_id, j.event_type, 'admin_api', 'manual', j.member_id, j.payload, j.app_chain,
                case j.status when 'failed' then j.step else 0 end, true, j.id
         from biz.ai_trigger_jobs j where j.id = $2 and j.site_id = $1
         returning id, step",
        site_id,
        id,
    )
    .fetch_one(tx)
    .with_statement_timeout()
    .await?;
    Ok((job.id, job.step))
}
