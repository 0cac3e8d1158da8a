//! Admins block messages, and unblock them.

use serde_json::json;
use sqlx::PgConnection;

use crate::{
    governance::audit::{self, Action},
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Result},
        words::words,
    },
};

words! {
    /// Result of `block_message`.
    enum Outcome {
        Changed = "changed",
        Unchanged = "unchanged",
        NotFound = "not_found",
        Busy = "busy",
    }
}

/// Blocks or unblocks a message of a user or of the assistant. Idempotent.
///
/// A blocked message keeps its row. Lists show a fixed text instead, and no prompt contains it. The
/// DashScope session of the conversation is dropped.
///
/// # Errors
/// [`Error::NotFound`], also for a message of another site. [`Error::Busy`] for a reply that is
/// being made.
pub async fn set_blocked(
    db: &Db,
    site_id: i64,
    admin_id: i64,
    message_id: i64,
    blocked: bool,
) -> Result<()> {
    let mut tx = db.transaction().await?;
    block(&mut tx, site_id, admin_id, message_id, blocked).await?;
    tx.commit().await
}

/// As [`set_blocked`], in a transaction.
pub(in crate::chat) async fn block(
    tx: &mut PgConnection,
    site_id: i64,
    admin_id: i64,
    message_id: i64,
    blocked: bool,
) -> Result<()> {
    let outcome = sqlx::query_scalar!(
        r#"select block_message($1, $2, $3) as "outcome!""#,
        site_id,
        message_id,
        blocked,
    )
    .fetch_one(&mut *tx)
    .with_statement_timeout()
    .await?;
    match Outcome::from_sql(&outcome, "block_message")? {
        Outcome::Changed => {}
        Outcome::Unchanged => return Ok(()),
        Outcome::NotFound => return Err(Error::NotFound),
        Outcome::Busy => {
            return Err(Error::Busy {
                message_id: Some(message_id),
            });
        }
    }
    let action = if blocked {
        Action::BlockMessage
    } else {
        Action::UnblockMessage
    };
    let object_id = message_id.to_string();
    audit::record(tx, action, site_id, admin_id, Some(&object_id), json!({})).await
}
