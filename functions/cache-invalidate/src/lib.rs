//! Cached results of the apps, for the admin web. `GET /api/admin/ai/cache` lists them,
//! `POST /api/admin/ai/cache/invalidate` invalidates them.

mod invalidate;
mod list;

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
        .routes(routes!(list::list_cache))
        .routes(routes!(invalidate::invalidate_cache))
        .with_state(AppState { db, callers })
}

/// Builds the routes, configured by the environment.
pub async fn from_env(env: Env) -> Result<OpenApiRouter, ConfigError> {
    let (database, secrets) =
        tokio::try_join!(DatabaseConfig::from_env(&env), JwtSecrets::from_env(&env))?;
    let db = db::connect_lazy(&database)?;
    Ok(router(db.clone(), Callers::new(secrets, db)))
}
