//! Trigger jobs (`/api/admin/ai/trigger-jobs`) and batches of jobs (`/api/admin/ai/batches`), for
//! the admin web and the business backend.

mod batches;
mod create;
mod jobs;
mod retry;
mod waiting;

use axum::extract::FromRef;
use common::{
    governance::auth::{Callers, JwtSecrets},
    platform::{
        db::{self, DatabaseConfig, Db},
        env::{ConfigError, Env},
        sqs::JobQueue,
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

#[derive(Clone, FromRef)]
struct AppState {
    db: Db,
    callers: Callers,
    queue: JobQueue,
}

/// The function's routes.
pub fn router(db: Db, callers: Callers, queue: JobQueue) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(jobs::list_jobs, create::create_job))
        .routes(routes!(jobs::find_job))
        .routes(routes!(retry::retry_job))
        .routes(routes!(waiting::cancel_job))
        .routes(routes!(waiting::run_job_now))
        .routes(routes!(batches::estimate_batch))
        .routes(routes!(batches::find_batch))
        .routes(routes!(batches::confirm_batch))
        .routes(routes!(batches::cancel_batch))
        .with_state(AppState { db, callers, queue })
}

/// Builds the routes, configured by the environment.
pub async fn from_env(env: Env) -> Result<OpenApiRouter, ConfigError> {
    let (database, secrets) =
        tokio::try_join!(DatabaseConfig::from_env(&env), JwtSecrets::from_env(&env))?;
    let db = db::connect_lazy(&database)?;
    Ok(router(
        db.clone(),
        Callers::new(secrets, db),
        JobQueue::from_env(&env),
    ))
}
