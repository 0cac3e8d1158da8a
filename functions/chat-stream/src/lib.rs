//! Sends a message and streams its reply (CHAT-4), or asks the last question again. From any
//! client, a reply can be resumed (CHAT-5) or stopped (CHAT-6).

mod events;
mod regenerate;
mod resume;
mod send;
mod stop;

use axum::extract::FromRef;
use common::{
    Result,
    chat::replies::Replies,
    governance::{auth::Callers, notice::AiLabel},
    platform::env::{ConfigError, Env},
};
use utoipa_axum::{router::OpenApiRouter, routes};

#[derive(Clone, FromRef)]
struct AppState {
    callers: Callers,
    replies: Replies,
    label: AiLabel,
}

/// The function's routes.
pub fn router(callers: Callers, replies: Replies, label: AiLabel) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(send::stream_reply))
        .routes(routes!(regenerate::regenerate_reply))
        .routes(routes!(resume::resume_reply))
        .routes(routes!(stop::stop_reply))
        .with_state(AppState {
            callers,
            replies,
            label,
        })
}

/// Builds the routes, configured by the environment.
pub async fn from_env(env: Env) -> Result<OpenApiRouter, ConfigError> {
    let (_, callers, replies) = Replies::from_env(&env).await?;
    replies.prepare_connection();
    Ok(router(callers, replies, AiLabel::from_env(&env)))
}
