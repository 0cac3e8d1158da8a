//! What must be done about those who died: run every minute.

use crate::{
    db::{Bounded, Db},
    error::Result,
};

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Replies whose maker was dead: they are `interrupted` or `failed` now.
    pub replies: i32,
    /// Partitions of the run log made ahead.
    pub partitions: i32,
}

/// Ends dead replies, a bounded number of them, and makes partitions ahead.
pub async fn run(db: &Db) -> Result<Swept> {
    let row = sqlx::query!(
        r#"select biz.sweep_replies() as "replies!", biz.make_run_log_partitions() as "partitions!""#
    )
    .fetch_one(db)
    .bounded()
    .await?;
    Ok(Swept {
        replies: row.replies,
        partitions: row.partitions,
    })
}
