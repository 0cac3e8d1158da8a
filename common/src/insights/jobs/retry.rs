//! A job once more, because an admin says so.

use crate::platform::{
    db::{Db, StatementTimeout},
    error::{Error, Result},
};

/// Queues a job anew, forced, from the step that failed; from the first where none did. Answers the new job.
///
/// # Errors
/// [`Error::NotFound`], also for a job of another site; [`Error::Conflict`] where the job, or a retry that belongs
/// to it, is pending or running, and where it is the reply to a message of a session.
pub async fn retry(db: &Db, site_id: i64, user_id: i64, id: i64) -> Result<i64> {
    let row = sqlx::query!(
        r#"select outcome as "outcome!", id from retry_job($1, $2, $3)"#,
        site_id,
        user_id,
        id,
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await?;
    match (&*row.outcome, row.id) {
        ("retried", Some(id)) => Ok(id),
        ("not_found", _) => Err(Error::NotFound),
        ("under_way", _) => Err(Error::Conflict("The job is under way")),
        ("answered", _) => Err(Error::Conflict("A message is answered once")),
        _ => Err(Error::internal("unknown outcome of retry_job")),
    }
}
