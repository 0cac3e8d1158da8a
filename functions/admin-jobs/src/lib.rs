//! Trigger jobs (`/api/admin/ai/trigger-jobs`), batches of jobs (`/api/admin/ai/batches`) and the
//! prewarm, for the admin web and the business backend.

mod batches;
mod bulk;
mod create;
mod jobs;
mod prewarm;
mod retry;
mod waiting;

use axum::extract::FromRef;
use common::{
    governance::auth::{Callers, JwtSecrets},
    insights::jobs::PrewarmSchedule,
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
    schedule: PrewarmSchedule,
}

/// The function's routes.
pub fn router(
    db: Db,
    callers: Callers,
    queue: JobQueue,
    schedule: PrewarmSchedule,
) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(jobs::list_jobs, create::create_job))
        .routes(routes!(jobs::find_job))
        .routes(routes!(retry::retry_job))
        .routes(routes!(waiting::cancel_job))
        .routes(routes!(waiting::run_job_now))
        .routes(routes!(bulk::retry_jobs))
        .routes(routes!(bulk::cancel_jobs))
        .routes(routes!(prewarm::show_prewarm, prewarm::start_prewarm))
        .routes(routes!(batches::list_batches))
        .routes(routes!(batches::estimate_batch))
        .routes(routes!(batches::find_batch))
        .routes(routes!(batches::confirm_batch))
        .routes(routes!(batches::cancel_batch))
        .with_state(AppState {
            db,
            callers,
            queue,
            schedule,
        })
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
        PrewarmSchedule::from_env(&env)?,
    ))
}
