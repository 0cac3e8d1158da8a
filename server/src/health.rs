//! `GET /healthz` and `GET /readyz`, for load balancers and schedulers.

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use common::platform::{db::Db, migrations, version};
use serde_json::{Value, json};

/// The routes of both checks.
pub(crate) fn router(db: Db) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(db)
}

/// The process lives. This does not depend on the database: a restart would not repair it.
async fn healthz() -> Json<Value> {
    Json(json!({ "status": "ok", "version": version::NUMBER, "commit": version::commit() }))
}

/// The process can serve requests: the database is reachable and has the schema of this build.
async fn readyz(State(db): State<Db>) -> impl IntoResponse {
    let (code, status) = match migrations::is_ready(&db).await {
        Ok(true) => (StatusCode::OK, "ready"),
        Ok(false) => (StatusCode::SERVICE_UNAVAILABLE, "schema_missing"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "database_unreachable"),
    };
    (code, Json(json!({ "status": status })))
}
