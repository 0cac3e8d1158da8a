//! Runs, usage, alerts, feedback and reports for the admin web, below `/api/admin/ai`: `GET
//! run-logs` (JSON pages or CSV), `GET run-logs/{id}`, `GET usage` (JSON or CSV), `GET alerts`,
//! `POST alerts/{id}/ack` and `…/ignore`, `GET feedback` (JSON pages or CSV), `GET reports`,
//! `POST reports/{id}/resolve`, `POST messages/{id}/block` and `…/unblock`.

mod alerts;
mod details;
mod feedback;
mod list;
mod messages;
mod reports;
mod usage;

use axum::extract::FromRef;
use common::{
    Result,
    governance::{
        auth::{Callers, JwtSecrets},
        notice::AiLabel,
    },
    platform::{
        db::{self, DatabaseConfig, Db},
        env::{ConfigError, Env},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

/// Items on a page, unless the client requests another number.
const PAGE_SIZE: i64 = 20;

#[derive(Clone, FromRef)]
struct AppState {
    db: Db,
    callers: Callers,
    label: AiLabel,
}

/// The function's routes.
pub fn router(db: Db, callers: Callers, label: AiLabel) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(alerts::list_alerts))
        .routes(routes!(alerts::acknowledge_alert))
        .routes(routes!(alerts::ignore_alert))
        .routes(routes!(feedback::list_feedback))
        .routes(routes!(reports::list_reports))
        .routes(routes!(reports::resolve_report))
        .routes(routes!(messages::block_message))
        .routes(routes!(messages::unblock_message))
        .routes(routes!(list::list_runs))
        .routes(routes!(details::show_run))
        .routes(routes!(usage::show_usage))
        .with_state(AppState { db, callers, label })
}

/// Builds the routes, configured by the environment.
pub async fn from_env(env: Env) -> Result<OpenApiRouter, ConfigError> {
    let (database, secrets) =
        tokio::try_join!(DatabaseConfig::from_env(&env), JwtSecrets::from_env(&env))?;
    let db = db::connect_lazy(&database)?;
    let callers = Callers::new(secrets, db.clone());
    Ok(router(db, callers, AiLabel::from_env(&env)))
}
