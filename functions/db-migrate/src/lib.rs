//! Migrates the database schema as a step of a deployment.
//!
//! `CloudFormation` invokes it before it changes the other functions, and gets the result by HTTP.
//! Other callers get the result as the response of the invocation.

mod stack;

use std::{
    future::{Ready, ready},
    time::Duration,
};

use common::platform::{
    db::{self, DatabaseConfig, Db},
    env::{ConfigError, Env},
    migrations, telemetry,
};
use lambda::Invocation;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use stack::{Change, Outcome};

/// Time before the function's timeout that is reserved for the report to `CloudFormation`.
const REPORT_RESERVE: Duration = Duration::from_secs(10);

/// The event of an invocation.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Request {
    /// From `CloudFormation`, for the template's resource `Migration`.
    Stack(stack::Request),
    /// From any other caller. All fields are ignored.
    Plain {},
}

/// The result of a migration.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Report {
    /// Number of migrations that this invocation applied.
    pub applied: usize,
    /// The newest version.
    pub version: i64,
    /// Partitions of the run log created in advance.
    pub partitions: i32,
    /// True if this invocation loaded the SQL functions of this build.
    pub functions_loaded: bool,
}

/// The migration failed, or its result could not be reported.
#[derive(Debug, thiserror::Error)]
pub enum MigrationFailed {
    /// The database configuration is invalid.
    #[error(transparent)]
    Configuration(#[from] ConfigError),
    /// The cause is only in the log, because it may contain data.
    #[error("the schema could not be brought up to date")]
    Migration,
    /// The function is near its timeout.
    #[error("the schema could not be brought up to date before the function's timeout")]
    OutOfTime,
    /// Lambda retries the invocation, which is safe.
    #[error("the result could not be reported to CloudFormation")]
    NotReported,
}

/// Returns the environment unread. Each invocation reads it, because a function that fails at the
/// start cannot report the error to `CloudFormation`.
///
/// # Errors
/// Never.
pub fn from_env(env: Env) -> Ready<Result<Env, ConfigError>> {
    ready(Ok(env))
}

/// Opens the database pool, configured by the environment.
pub async fn open(env: &Env) -> Result<Db, ConfigError> {
    db::connect_lazy(&DatabaseConfig::from_env(env).await?)
}

/// Applies missing migrations and reports the result to `CloudFormation` if it is the caller.
/// Returns the report, or `None` if nothing was migrated.
pub async fn migrate(
    env: Env,
    invocation: Invocation<Request>,
) -> Result<Option<Report>, MigrationFailed> {
    let request = match invocation.event {
        Request::Plain {} => return apply(&env).await.map(Some),
        Request::Stack(request) => request,
    };
    let ends_at = invocation.ends_at;
    let (report, outcome) = match request.change {
        Change::Create | Change::Update => match apply_in_time(&env, ends_at).await {
            Ok(report) => {
                let outcome = Outcome::of(&report);
                (Some(report), outcome)
            }
            Err(err) => (None, Outcome::failed(&err)),
        },
        // Deleting a stack keeps the schema and its data.
        Change::Delete => (None, Outcome::unchanged()),
        Change::Unknown => (None, Outcome::failed(&"unknown request type")),
    };
    stack::report(&request, &outcome, ends_at).await?;
    Ok(report)
}

async fn apply_in_time(env: &Env, ends_at: Option<Instant>) -> Result<Report, MigrationFailed> {
    let Some(ends_at) = ends_at else {
        return apply(env).await;
    };
    let until = ends_at.checked_sub(REPORT_RESERVE).unwrap_or(ends_at);
    let applied = timeout_at(until, apply(env)).await;
    applied.unwrap_or_else(|_| {
        tracing::error!("migration aborted before the function's timeout");
        Err(MigrationFailed::OutOfTime)
    })
}

async fn apply(env: &Env) -> Result<Report, MigrationFailed> {
    let db = open(env).await.inspect_err(|err| {
        tracing::error!(cause = telemetry::chain(err), "migration cannot start");
    })?;
    match migrations::apply(&db).await {
        Ok(done) => {
            if let Some(role) = env.text("DATABASE_APP_ROLE") {
                grant(&db, role).await?;
            }
            tracing::info!(
                applied = done.applied,
                version = done.version,
                partitions = done.partitions,
                functions_loaded = done.functions_loaded,
                "migration finished"
            );
            Ok(Report {
                applied: done.applied,
                version: done.version,
                partitions: done.partitions,
                functions_loaded: done.functions_loaded,
            })
        }
        Err(err) => {
            tracing::error!(cause = %err, "migration failed");
            Err(MigrationFailed::Migration)
        }
    }
}

/// Grants the functions' role its rights, on every run: migrations add tables, and each build has
/// its own schema of SQL functions.
async fn grant(db: &Db, role: &str) -> Result<(), MigrationFailed> {
    migrations::grant_to_app_role(db, role)
        .await
        .map_err(|err| {
            tracing::error!(cause = telemetry::chain(&err), "grants failed");
            MigrationFailed::Migration
        })
}
