//! Routes of the admin web: dashboard, latency, budget, prices, runtime context and audit log
//! (`/api/admin/ai/dashboard`, `latency`, `budget`, `prices`, `runtime-context`, `audit`).

mod audit;
mod budget;
mod dashboard;
mod latency;
mod prices;
mod runtime_context;

use axum::extract::FromRef;
use common::{
    governance::auth::{Callers, JwtSecrets},
    platform::{
        db::{self, DatabaseConfig, Db},
        env::{ConfigError, Env},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

#[derive(Clone, FromRef)]
struct AppState {
    db: Db,
    callers: Callers,
}

/// The function's routes.
pub fn router(db: Db, callers: Callers) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(dashboard::show_dashboard))
        .routes(routes!(budget::show_budget, budget::set_budget))
        .routes(routes!(
            runtime_context::show_runtime_context,
            runtime_context::set_runtime_context
        ))
        .routes(routes!(latency::show_latency))
        .routes(routes!(prices::list_prices, prices::set_price))
        .routes(routes!(audit::list_audit))
        .with_state(AppState { db, callers })
}

/// Builds the routes, configured by the environment.
pub async fn from_env(env: Env) -> Result<OpenApiRouter, ConfigError> {
    let (database, secrets) =
        tokio::try_join!(DatabaseConfig::from_env(&env), JwtSecrets::from_env(&env))?;
    let db = db::connect_lazy(&database)?;
    Ok(router(db.clone(), Callers::new(secrets, db)))
}
