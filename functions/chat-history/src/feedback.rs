//! `PUT /api/xcx/chat/messages/{messageId}/feedback`.

use axum::extract::State;
use common::{
    Result,
    chat::messages,
    governance::auth::Caller,
    platform::db::Db,
    web::{BodyFailures, FeedbackBody, GivenFeedback, Json, PathText, Problem},
};

/// Rates a reply, replaces the rating, or removes it. Safe to repeat.
#[utoipa::path(
    put, path = "/api/xcx/chat/messages/{messageId}/feedback", tag = "chat", security(("bearer" = [])),
    params(("messageId" = i64, Path, minimum = 1)),
    request_body = FeedbackBody,
    responses(
        (status = 200, body = GivenFeedback),
        BodyFailures<Problem>,
    ),
)]
pub(crate) async fn set_message_feedback(
    State(db): State<Db>,
    caller: Caller,
    path: PathText,
    Json(body): Json<FeedbackBody>,
) -> Result<Json<GivenFeedback>> {
    let message_id = path.id("messageId")?;
    let feedback = body.parse()?;
    messages::set_feedback(&db, &caller, message_id, feedback.as_ref()).await?;
    Ok(Json(feedback.into()))
}
