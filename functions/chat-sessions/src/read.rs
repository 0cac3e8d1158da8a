//! `PUT /api/chat/sessions/{id}/read`: what the bot has said so far was read.

use axum::extract::State;
use common::{
    Result,
    chat::sessions,
    governance::auth::Caller,
    platform::db::Db,
    web::{ItemFailures, Json, PathText, SessionProblem},
};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// How many messages were unread.
#[derive(Serialize, ToSchema)]
#[schema(as = ReadSession)]
pub(crate) struct Marked {
    session_id: Uuid,
    marked_read: i64,
}

/// Marks every unread message of the bot as read. What it says meanwhile stays unread.
#[utoipa::path(
    put, path = "/api/chat/sessions/{id}/read", tag = "sessions", security(("bearer" = [])),
    params(("id" = Uuid, Path)),
    responses(
        (status = 200, body = Marked),
        ItemFailures<SessionProblem>,
    ),
)]
pub(crate) async fn mark_session_read(
    State(db): State<Db>,
    caller: Caller,
    path: PathText,
) -> Result<Json<Marked>> {
    let session_id = path.uuid("id")?;
    let marked_read = sessions::mark_read(&db, &caller, session_id).await?;
    Ok(Json(Marked {
        session_id,
        marked_read,
    }))
}
