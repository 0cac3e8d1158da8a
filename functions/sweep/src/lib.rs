//! Ends replies, jobs and runs of functions that were killed, and deletes expired data. A schedule
//! invokes it every minute.

use common::{
    Result,
    chat::{conversations, replies, sessions, user_data},
    governance::{
        gauges,
        runs::{self, Retention},
    },
    insights::{batches, jobs, results},
    platform::{
        db::{self, DatabaseConfig, Db},
        env::{ConfigError, Env},
        metrics, migrations, telemetry,
    },
};
use lambda::Invocation;
use serde::{Deserialize, Serialize};

/// The event of an invocation. All fields are ignored.
#[derive(Debug, Default, Deserialize)]
pub struct Request {}

#[derive(Clone)]
#[expect(missing_docs, reason = "plain data")]
pub struct AppState {
    pub db: Db,
    pub retention: Retention,
}

/// A part of the sweep failed. The cause is only in the log, because it may contain data.
#[derive(Debug, thiserror::Error)]
#[error("the sweep could not be finished")]
pub struct SweepFailed;

/// Builds the state, configured by the environment.
pub async fn from_env(env: Env) -> Result<AppState, ConfigError> {
    Ok(AppState {
        db: db::connect_lazy(&DatabaseConfig::from_env(&env).await?)?,
        retention: Retention::from_env(&env)?,
    })
}

/// What a sweep did. All counts are 0 if another sweep was running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// Replies whose function was killed. They are `interrupted` or `failed` now.
    pub replies: i32,
    /// Jobs whose worker was killed. They are `pending` again, or `failed` after the fifth time.
    pub jobs: i32,
    /// Runs of jobs that no worker ended.
    pub runs: i32,
    /// Deleted results whose worker was killed while it generated them.
    pub cache_leases: i32,
    /// Results newly marked as `expired`.
    pub cache_expired: i32,
    /// Deleted results beyond the newest 20,000 of an app and site.
    pub cache_removed: i32,
    /// Deleted idempotency keys, older than a day.
    pub idempotency_keys: i32,
    /// Deleted conversations without a message, a day after they were last opened.
    pub empty_conversations: i32,
    /// Users whose data was deleted completely, as an admin had requested.
    pub user_data_deletions: i32,
    /// Deleted estimates of unconfirmed batches, a day after they expired.
    pub estimates: i32,
    /// Partitions of the run log that were created in advance.
    pub partitions_made: i32,
    /// Dropped partitions of the run log.
    pub partitions_dropped: i32,
    /// Dropped schemas of SQL functions that no build uses any more.
    pub functions_dropped: i32,
    /// Rows that could not be changed. The log names each of them.
    pub skipped: i32,
}

impl Swept {
    fn counts(&self) -> [(&'static str, i32); 14] {
        [
            ("replies", self.replies),
            ("jobs", self.jobs),
            ("runs", self.runs),
            ("cache_leases", self.cache_leases),
            ("cache_expired", self.cache_expired),
            ("cache_removed", self.cache_removed),
            ("idempotency_keys", self.idempotency_keys),
            ("empty_conversations", self.empty_conversations),
            ("user_data_deletions", self.user_data_deletions),
            ("estimates", self.estimates),
            ("partitions_made", self.partitions_made),
            ("partitions_dropped", self.partitions_dropped),
            ("functions_dropped", self.functions_dropped),
            ("skipped", self.skipped),
        ]
    }
}

/// Runs all parts of the sweep. Each part handles a limited number of rows in a short transaction.
/// The next sweep handles the rest.
///
/// # Errors
/// Returns the first error after all parts have run. A failed part does not stop the other parts.
pub async fn run(db: &Db, retention: Retention) -> Result<Swept> {
    let replies = replies::sweep(db).await;
    let jobs = jobs::sweep(db).await;
    let results = results::sweep(db).await;
    let idempotency_keys = sessions::sweep_idempotency_keys(db).await;
    let empty_conversations = conversations::sweep_empty(db).await;
    let user_data_deletions = user_data::sweep(db).await;
    let estimates = batches::sweep(db).await;
    let partitions_made = runs::make_partitions(db).await;
    let partitions_dropped = runs::drop_partitions(db, retention).await;
    let functions_dropped = migrations::drop_unused_functions(db).await;
    let (replies, jobs, results, estimates) = (replies?, jobs?, results?, estimates?);
    let empty_conversations = empty_conversations?;
    let rows = [
        replies,
        jobs.jobs,
        jobs.runs,
        results.leases,
        results.expired,
        results.removed,
        empty_conversations,
        estimates,
    ];
    let swept = Swept {
        replies: replies.done,
        jobs: jobs.jobs.done,
        runs: jobs.runs.done,
        cache_leases: results.leases.done,
        cache_expired: results.expired.done,
        cache_removed: results.removed.done,
        idempotency_keys: idempotency_keys?,
        empty_conversations: empty_conversations.done,
        user_data_deletions: user_data_deletions?,
        estimates: estimates.done,
        partitions_made: partitions_made?,
        partitions_dropped: partitions_dropped?,
        functions_dropped: functions_dropped?,
        skipped: rows.iter().map(|rows| rows.skipped).sum(),
    };
    for (what, count) in swept.counts() {
        metrics::swept(what, count.unsigned_abs().into());
    }
    Ok(swept)
}

/// Sweeps, and writes the gauges that alarms watch.
pub async fn sweep(state: AppState, _: Invocation<Request>) -> Result<Swept, SweepFailed> {
    let swept = run(&state.db, state.retention).await;
    gauges::write(&state.db).await;
    // A field whose value is `None` is left out of the line.
    let if_any = |count: i32| (count != 0).then_some(count);
    match swept {
        Ok(swept) if swept == Swept::default() => Ok(swept),
        Ok(swept) => {
            tracing::info!(
                replies = if_any(swept.replies),
                jobs = if_any(swept.jobs),
                runs = if_any(swept.runs),
                cache_leases = if_any(swept.cache_leases),
                cache_expired = if_any(swept.cache_expired),
                cache_removed = if_any(swept.cache_removed),
                idempotency_keys = if_any(swept.idempotency_keys),
                empty_conversations = if_any(swept.empty_conversations),
                user_data_deletions = if_any(swept.user_data_deletions),
                estimates = if_any(swept.estimates),
                partitions_made = if_any(swept.partitions_made),
                partitions_dropped = if_any(swept.partitions_dropped),
                functions_dropped = if_any(swept.functions_dropped),
                skipped = if_any(swept.skipped),
                "sweep finished"
            );
            Ok(swept)
        }
        Err(err) => {
            tracing::error!(cause = telemetry::chain(&err), "sweep failed");
            Err(SweepFailed)
        }
    }
}
