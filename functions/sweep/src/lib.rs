//! Ends what died and removes what grew old: invoked by a schedule, every minute.

use common::{
    config::{ConfigError, DatabaseConfig, Env, Retention},
    db::{self, Db},
    sweep::{self, Swept},
    vitals,
};
use lambda::Invocation;
use serde::Deserialize;

/// Whatever invokes it: it takes no arguments, and ignores those it is given.
#[derive(Debug, Default, Deserialize)]
pub struct Request {}

/// What it needs.
#[derive(Clone)]
pub struct Tools {
    /// The database.
    pub db: Db,
    /// How long things are kept.
    pub retention: Retention,
}

/// Why nothing more was done this time. The cause is in the log, for it may name what the schema holds.
#[derive(Debug, thiserror::Error)]
#[error("the sweep could not be finished")]
pub struct SweepFailed;

/// The tools that the environment describes.
pub async fn from_env(env: Env) -> Result<Tools, ConfigError> {
    Ok(Tools {
        db: db::connect_lazy(&DatabaseConfig::from_env(&env).await?)?,
        retention: Retention::from_env(&env)?,
    })
}

/// Does what there is to do, and has the alarms told how everything is.
pub async fn sweep(tools: Tools, _: Invocation<Request>) -> Result<Swept, SweepFailed> {
    let swept = sweep::run(&tools.db, tools.retention.run_log_days).await;
    vitals::tell(&tools.db).await;
    match swept {
        Ok(swept) => {
            tracing::info!(
                replies = swept.replies,
                jobs = swept.jobs,
                runs = swept.runs,
                cache_leases = swept.cache_leases,
                cache_expired = swept.cache_expired,
                cache_removed = swept.cache_removed,
                idempotency_keys = swept.idempotency_keys,
                estimates = swept.estimates,
                partitions_made = swept.partitions_made,
                partitions_dropped = swept.partitions_dropped,
                "swept"
            );
            Ok(swept)
        }
        Err(err) => {
            tracing::error!(cause = common::telemetry::chain(&err), "sweep failed");
            Err(SweepFailed)
        }
    }
}
