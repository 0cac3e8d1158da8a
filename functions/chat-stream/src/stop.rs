//! `POST /api/xcx/chat/stream/{messageId}/stop`: stops a reply (CHAT-6).

use axum::{extract::State, http::StatusCode};
use common::{
    Result,
    chat::replies::{Replies, Stop},
    governance::auth::Caller,
    web::{ItemFailures, Json, PathText, Problem},
};
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Stopping {
    message_id: i64,
    /// `stopping`. If the reply had already ended, `complete`, `stopped`, `interrupted` or
    /// `failed`.
    status: &'static str,
}

/// Stops a reply that any instance is generating. The text so far is kept. Safe to repeat.
#[utoipa::path(
    post, path = "/api/xcx/chat/stream/{messageId}/stop", tag = "chat", security(("bearer" = [])),
    params(("messageId" = i64, Path, minimum = 1)),
    responses(
        (status = 200, body = Stopping, description = "The reply had already ended"),
        (status = 202, body = Stopping, description = "The reply ends within two seconds"),
        ItemFailures<Problem>,
    ),
)]
pub(crate) async fn stop_reply(
    State(replies): State<Replies>,
    caller: Caller,
    path: PathText,
) -> Result<(StatusCode, Json<Stopping>)> {
    let message_id = path.id("messageId")?;
    let (code, status) = match replies.stop(&caller, message_id).await? {
        Stop::Stopping => (StatusCode::ACCEPTED, "stopping"),
        Stop::Ended(state) => (StatusCode::OK, state.name()),
    };
    Ok((code, Json(Stopping { message_id, status })))
}
