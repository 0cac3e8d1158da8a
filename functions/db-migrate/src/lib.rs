//! Brings the schema up to date, as a step of a deployment: `CloudFormation` asks for it before it changes the other
//! functions, and is told how it went. Whoever invokes it with anything else is told in the answer.

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

/// What is kept of the function's time to tell `CloudFormation` in.
const TIME_TO_TELL: Duration = Duration::from_secs(10);

/// Who invokes it.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Request {
    /// `CloudFormation`, for the template's resource `Migration`.
    Stack(stack::Request),
    /// Anybody else: it takes no arguments, and ignores those it is given.
    Plain {},
}

/// What it did.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Report {
    /// Migrations applied now.
    pub applied: usize,
    /// The newest version.
    pub version: i64,
    /// Partitions of the run log made ahead.
    pub partitions: i32,
    /// Whether the functions of this build were loaded now.
    pub functions_loaded: bool,
}

/// Why the schema is not up to date, or nobody knows that it is.
#[derive(Debug, thiserror::Error)]
pub enum MigrationFailed {
    /// The database cannot be found.
    #[error(transparent)]
    Configuration(#[from] ConfigError),
    /// The cause is in the log, for it may name what the schema holds.
    #[error("the schema could not be brought up to date")]
    Migration,
    /// The function nears its end.
    #[error("the schema could not be brought up to date in the time that the function has")]
    OutOfTime,
    /// Lambda tries again, which does no harm.
    #[error("CloudFormation could not be told how the migration went")]
    Untold,
}

/// What the environment says. It is read when there is something to do, for a function that does not
/// even start tells `CloudFormation` nothing.
///
/// # Errors
/// Never.
pub fn from_env(env: Env) -> Ready<Result<Env, ConfigError>> {
    ready(Ok(env))
}

/// The pool that the environment describes.
pub async fn open(env: &Env) -> Result<Db, ConfigError> {
    db::connect_lazy(&DatabaseConfig::from_env(env).await?)
}

/// Applies what is missing. `CloudFormation` gets its answer by itself; the invocation's is then what
/// was done, if anything.
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
        // Forward only: a stack that goes leaves the schema, and what is in it, to who comes next.
        Change::Delete => (None, Outcome::unchanged()),
        Change::Unknown => (None, Outcome::failed(&"this is no change of a stack")),
    };
    stack::tell(&request, &outcome, ends_at).await?;
    Ok(report)
}

async fn apply_in_time(env: &Env, ends_at: Option<Instant>) -> Result<Report, MigrationFailed> {
    let Some(ends_at) = ends_at else {
        return apply(env).await;
    };
    let until = ends_at.checked_sub(TIME_TO_TELL).unwrap_or(ends_at);
    let applied = timeout_at(until, apply(env)).await;
    applied.unwrap_or_else(|_| {
        tracing::error!("the migration is not over, and the function nearly is");
        Err(MigrationFailed::OutOfTime)
    })
}

async fn apply(env: &Env) -> Result<Report, MigrationFailed> {
    let db = open(env).await.inspect_err(|err| {
        tracing::error!(cause = telemetry::chain(err), "migration cannot start");
    })?;
    match migrations::apply(&db).await {
        Ok(done) => {
            tracing::info!(
                applied = done.applied,
                version = done.version,
                partitions = done.partitions,
                functions_loaded = done.functions_loaded,
                "migrated"
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
