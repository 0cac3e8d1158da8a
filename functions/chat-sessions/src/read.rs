//! `PUT /api/chat/sessions/{id}/read`: marks messages as read.

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

/// The number of messages that were unread.
#[derive(Serialize, ToSchema)]
#[schema(as = ReadSession)]
pub(crate) struct Marked {
    session_id: Uuid,
    marked_read: i64,
}

/// Marks all unread messages of the bot as read. Messages that arrive meanwhile stay unread.
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
