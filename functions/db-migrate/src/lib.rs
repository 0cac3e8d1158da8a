//! Brings the schema up to date, as a step of a deployment.

use common::{
    config::{ConfigError, DatabaseConfig, Env},
    db::{self, Db},
    migrations,
};
use lambda::Invocation;
use serde::{Deserialize, Serialize};

/// Whatever invokes it: it takes no arguments, and ignores those it is given.
#[derive(Debug, Deserialize)]
pub struct Request {}

/// What it did.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Report {
    /// Migrations applied now.
    pub applied: usize,
    /// The newest version.
    pub version: i64,
    /// Partitions of the run log made ahead.
    pub partitions: i32,
}

/// Why the schema is not up to date. The cause is in the log, for it may name what the schema holds.
#[derive(Debug, thiserror::Error)]
#[error("the schema could not be brought up to date")]
pub struct MigrationFailed;

/// The pool that the environment describes.
pub async fn from_env(env: Env) -> Result<Db, ConfigError> {
    db::connect_lazy(&DatabaseConfig::from_env(&env).await?)
}

/// Applies what is missing.
pub async fn migrate(db: Db, _: Invocation<Request>) -> Result<Report, MigrationFailed> {
    match migrations::apply(&db).await {
        Ok(done) => {
            tracing::info!(
                applied = done.applied,
                version = done.version,
                partitions = done.partitions,
                "migrated"
            );
            Ok(Report {
                applied: done.applied,
                version: done.version,
                partitions: done.partitions,
            })
        }
        Err(err) => {
            tracing::error!(cause = %err, "migration failed");
            Err(MigrationFailed)
        }
    }
}
