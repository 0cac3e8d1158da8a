//! Insights: staff read the results of the background applications, rate them, and request missing
//! ones.

mod feedback;
mod history;
mod list;
mod refresh;
mod view;

use axum::extract::FromRef;
use common::{
    governance::auth::Callers,
    insights::insight::Insights,
    platform::env::{ConfigError, Env},
};
use utoipa_axum::{router::OpenApiRouter, routes};

#[derive(Clone, FromRef)]
struct AppState {
    callers: Callers,
    insights: Insights,
}

/// The function's routes.
pub fn router(callers: Callers, insights: Insights) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list::list_insights))
        .routes(routes!(refresh::refresh_insights))
        .routes(routes!(history::list_insight_history))
        .routes(routes!(feedback::set_insight_feedback))
        .with_state(AppState { callers, insights })
}

/// Builds the routes, configured by the environment.
pub async fn from_env(env: Env) -> Result<OpenApiRouter, ConfigError> {
    let (callers, insights) = Insights::from_env(&env).await?;
    Ok(router(callers, insights))
}
