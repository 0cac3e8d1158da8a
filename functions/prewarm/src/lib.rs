//! Queues finance insights before opening hours. A schedule invokes it once a day.

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

/// Arguments of a manual invocation. A schedule passes none.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Request {
    /// Only this site. Default: all sites.
    site_id: Option<i64>,
    /// Reports what would be queued, but queues nothing.
    dry_run: bool,
}

#[derive(Clone)]
#[expect(missing_docs, reason = "plain data")]
pub struct AppState {
    pub db: Db,
    pub queue: JobQueue,
}

/// The prewarm stopped early. Jobs queued before stay queued. The cause is in the log.
#[derive(Debug, thiserror::Error)]
#[error("the prewarm could not be finished")]
pub struct PrewarmFailed;

/// Builds the state, configured by the environment.
pub async fn from_env(env: Env) -> Result<AppState, ConfigError> {
    Ok(AppState {
        db: db::connect_lazy(&DatabaseConfig::from_env(&env).await?)?,
        queue: JobQueue::from_env(&env),
    })
}

/// Queues jobs for missing results and wakes workers for them.
pub async fn prewarm(
    state: AppState,
    invocation: Invocation<Request>,
) -> Result<Prewarmed, PrewarmFailed> {
    let Request { site_id, dry_run } = invocation.event;
    let found = jobs::prewarm(&state.db, Connector::Schedule, site_id, dry_run)
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
        "prewarm finished"
    );
    if !dry_run {
        let workers = found.enqueued.clamp(0, MAX_WOKEN);
        state
            .queue
            .notify_workers(workers.try_into().unwrap_or_default())
            .await;
    }
    Ok(found)
}

/// Upper limit of wake-up messages. A woken worker runs until no job is due, and fewer workers than
/// this may run at the same time.
const MAX_WOKEN: i64 = 100;
