//! A message whose reply comes as it is made (CHAT-4), and what can be done about that reply
//! from anywhere else: read on (CHAT-5), stop (CHAT-6).

mod events;
mod resume;
mod send;
mod stop;

use axum::extract::FromRef;
use common::{
    Result,
    chat::replies::Replies,
    governance::auth::Callers,
    platform::env::{ConfigError, Env},
};
use utoipa_axum::{router::OpenApiRouter, routes};

#[derive(Clone, FromRef)]
struct AppState {
    callers: Callers,
    replies: Replies,
}

/// The function's routes.
pub fn router(callers: Callers, replies: Replies) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(send::stream_reply))
        .routes(routes!(resume::resume_reply))
        .routes(routes!(stop::stop_reply))
        .with_state(AppState { callers, replies })
}

/// The function's routes, with the tools that the environment describes.
pub async fn from_env(env: Env) -> Result<OpenApiRouter, ConfigError> {
    let (_, callers, replies) = Replies::from_env(&env).await?;
    Ok(router(callers, replies))
}
