//! `POST /api/xcx/chat/{chatId}/regenerate`: asks the last question again.

use axum::{extract::State, response::Response};
use common::{
    Result,
    chat::{
        messages::ClientMessageId,
        replies::{Asked, NewMessage, Replies, ReplyHeader},
    },
    governance::{auth::Caller, notice::AiLabel},
    insights::pages::PageRequest,
    platform::time_limit::TimeLimit,
    web::{BodyFailures, Json, PathText, Problem, QueryText},
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::events::{self, Encoding, StreamEvent};

#[derive(Deserialize, ToSchema)]
#[schema(as = RegenerateBody)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Body {
    /// Idempotency key. A request with the same id resumes the reply of the first request.
    #[schema(min_length = 1, max_length = 64)]
    client_message_id: Option<String>,
    /// The page of the mini-program, as in `POST /api/xcx/chat/stream`.
    source_page: Option<String>,
    /// The filters of that page, including `contextId`. At most 4 KiB.
    #[schema(value_type = Option<Object>)]
    page_context: Option<serde_json::Value>,
}

/// Asks the last question again, and streams the new reply. It replaces the old one, which is in
/// no list afterwards.
#[utoipa::path(
    post, path = "/api/xcx/chat/{chatId}/regenerate", tag = "chat", security(("bearer" = [])),
    params(
        ("chatId" = i64, Path, minimum = 1, example = 1),
        ("ascii" = Option<i64>, Query, description = "1: non-ASCII characters are written as \\uXXXX", minimum = 0, maximum = 1),
    ),
    request_body = Body,
    responses(
        (status = 200, content_type = "text/event-stream", body = StreamEvent, description = "`start`, `message`…, then `done` or `error`"),
        BodyFailures<Problem>, (status = 409, body = Problem), (status = 429, body = Problem),
    ),
)]
pub(crate) async fn regenerate_reply(
    State(replies): State<Replies>,
    State(label): State<AiLabel>,
    caller: Caller,
    path: PathText,
    query: QueryText,
    limit: TimeLimit,
    Json(body): Json<Body>,
) -> Result<Response> {
    let encoding = Encoding::parse(&query)?;
    let message = NewMessage {
        conversation_id: path.id("chatId")?,
        asked: Asked::Again,
        client_message_id: ClientMessageId::parse(body.client_message_id)?,
        page: PageRequest::parse(body.source_page.as_deref(), body.page_context)?,
    };
    let (start, watch) = replies.send(&caller, message, limit, None).await?;
    Ok(events::respond(
        ReplyHeader::from(&start),
        watch,
        encoding,
        label,
    ))
}
