//! Queues finance insights before the shops open: invoked by a schedule, once a day.

use common::{
    insights::jobs::{self, Connector, Prewarmed},
    platform::{
        db::{self, DatabaseConfig, Db},
        env::{ConfigError, Env},
        sqs::JobQueue,
        telemetry,
    },
};
use lambda::Invocation;
use serde::Deserialize;

/// What a schedule leaves out, and somebody by hand may say.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Request {
    /// One site instead of all.
    site_id: Option<i64>,
    /// Says what would be queued, and queues nothing.
    dry_run: bool,
}

#[derive(Clone)]
#[expect(missing_docs, reason = "plain data")]
pub struct AppState {
    pub db: Db,
    pub queue: JobQueue,
}

/// Why not all was queued. What was is kept; the cause is in the log.
#[derive(Debug, thiserror::Error)]
#[error("the prewarm could not be finished")]
pub struct PrewarmFailed;

/// The tools that the environment describes.
pub async fn from_env(env: Env) -> Result<AppState, ConfigError> {
    Ok(AppState {
        db: db::connect_lazy(&DatabaseConfig::from_env(&env).await?)?,
        queue: JobQueue::from_env(&env),
    })
}

/// Queues what is missing, and wakes workers for it.
pub async fn prewarm(
    tools: AppState,
    invocation: Invocation<Request>,
) -> Result<Prewarmed, PrewarmFailed> {
    let Request { site_id, dry_run } = invocation.event;
    let found = jobs::prewarm(&tools.db, Connector::Schedule, site_id, dry_run)
        .await
        .map_err(|err| {
            tracing::error!(cause = telemetry::chain(&err), "prewarm failed");
            PrewarmFailed
        })?;
    tracing::info!(
        sites = found.sites,
        enqueued = found.enqueued,
        valid = found.valid,
        under_way = found.under_way,
        dry_run,
        "prewarmed"
    );
    if !dry_run {
        let workers = found.enqueued.clamp(0, MOST_WOKEN);
        tools
            .queue
            .notify_workers(workers.try_into().unwrap_or_default())
            .await;
    }
    Ok(found)
}

/// A worker that is woken works until nothing is due: so many are more than may run at once.
const MOST_WOKEN: i64 = 100;
