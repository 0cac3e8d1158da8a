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
    /// Jobs whose worker was dead: they are `pending` again, or `failed` where that was the fifth.
    pub jobs: i32,
    /// Runs of jobs that nobody settled.
    pub runs: i32,
    /// Entries whose generator was dead: they are gone.
    pub cache_leases: i32,
    /// Entries that are marked `expired` now.
    pub cache_expired: i32,
    /// Entries beyond the newest 20,000 of an app and site: they are gone.
    pub cache_removed: i32,
    /// Idempotency keys that a day has passed over.
    pub idempotency_keys: i32,
    /// Estimates of batches that nobody confirmed, a day after they expired.
    pub estimates: i32,
    /// Partitions of the run log made ahead.
    pub partitions_made: i32,
    /// Partitions of the run log that were old enough to go.
    pub partitions_dropped: i32,
}

/// Does a bounded share of each, in a short transaction each; what is left is found by the next.
///
/// `keep_days` is how long runs are kept: a month goes when all of it is older.
pub async fn run(db: &Db, keep_days: i32) -> Result<Swept> {
    // Each by itself: what one of them cannot do keeps the others from nothing.
    let replies = sqlx::query_scalar!(r#"select biz.sweep_replies() as "replies!""#)
        .fetch_one(db)
        .bounded()
        .await;
    let jobs = sqlx::query!(r#"select jobs as "jobs!", runs as "runs!" from biz.sweep_jobs()"#)
        .fetch_one(db)
        .bounded()
        .await;
    let cache = sqlx::query!(
        r#"select leases as "leases!", expired as "expired!", removed as "removed!" from biz.sweep_cache()"#
    )
    .fetch_one(db)
    .bounded()
    .await;
    let forgotten = sqlx::query!(
        r#"select biz.sweep_idempotency_keys() as "keys!", biz.sweep_batches() as "estimates!""#
    )
    .fetch_one(db)
    .bounded()
    .await;
    let partitions_made =
        sqlx::query_scalar!(r#"select biz.make_run_log_partitions() as "partitions!""#)
            .fetch_one(db)
            .bounded()
            .await;
    let partitions_dropped = sqlx::query_scalar!(
        r#"select biz.drop_run_log_partitions($1) as "partitions!""#,
        keep_days
    )
    .fetch_one(db)
    .bounded()
    .await;
    let (jobs, cache, forgotten) = (jobs?, cache?, forgotten?);
    let swept = Swept {
        replies: replies?,
        jobs: jobs.jobs,
        runs: jobs.runs,
        cache_leases: cache.leases,
        cache_expired: cache.expired,
        cache_removed: cache.removed,
        idempotency_keys: forgotten.keys,
        estimates: forgotten.estimates,
        partitions_made: partitions_made?,
        partitions_dropped: partitions_dropped?,
    };
    for (what, count) in [
        ("replies", swept.replies),
        ("jobs", swept.jobs),
        ("runs", swept.runs),
        ("cache_leases", swept.cache_leases),
        ("cache_expired", swept.cache_expired),
        ("cache_removed", swept.cache_removed),
        ("idempotency_keys", swept.idempotency_keys),
        ("estimates", swept.estimates),
        ("partitions_made", swept.partitions_made),
        ("partitions_dropped", swept.partitions_dropped),
    ] {
        metrics::swept(what, count.unsigned_abs().into());
    }
    Ok(swept)
}
