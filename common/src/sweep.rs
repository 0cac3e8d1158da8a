//! What must be done about those who died, and about what has grown old: run every minute.

use serde::Serialize;

use crate::{
    db::{Bounded, Db},
    error::Result,
    metrics,
};

/// What a sweep did. All is zero where another one was at work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// Replies whose maker was dead: they are `interrupted` or `failed` now.
    pub replies: i32,
    /// Partitions of the run log made ahead.
    pub partitions_made: i32,
    /// Partitions of the run log that were old enough to go.
    pub partitions_dropped: i32,
}

/// Does a bounded share of each, in a short transaction each; what is left is found by the next.
///
/// `keep_days` is how long runs are kept: a month goes when all of it is older.
pub async fn run(db: &Db, keep_days: i32) -> Result<Swept> {
    let swept = Swept {
        replies: sqlx::query_scalar!(r#"select biz.sweep_replies() as "replies!""#)
            .fetch_one(db)
            .bounded()
            .await?,
        partitions_made: sqlx::query_scalar!(
            r#"select biz.make_run_log_partitions() as "partitions!""#
        )
        .fetch_one(db)
        .bounded()
        .await?,
        partitions_dropped: sqlx::query_scalar!(
            r#"select biz.drop_run_log_partitions($1) as "partitions!""#,
            keep_days
        )
        .fetch_one(db)
        .bounded()
        .await?,
    };
    for (what, count) in [
        ("replies", swept.replies),
        ("partitions_made", swept.partitions_made),
        ("partitions_dropped", swept.partitions_dropped),
    ] {
        metrics::swept(what, count.unsigned_abs().into());
    }
    Ok(swept)
}
