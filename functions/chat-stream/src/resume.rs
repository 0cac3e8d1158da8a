//! `GET /api/xcx/chat/stream/{messageId}`: resumes the stream of a reply (CHAT-5).

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue},
    response::Response,
};
use common::{
    Result,
    chat::replies::{Replies, ResumePoint},
    governance::{auth::Caller, notice::AiLabel},
    platform::time_limit::TimeLimit,
    web::{ItemFailures, PathText, Problem, QueryText},
};

use crate::events::{self, Encoding, StreamEvent};

/// Resumes the stream of a reply. The stored text comes first, then new text as it is generated.
#[utoipa::path(
    get, path = "/api/xcx/chat/stream/{messageId}", tag = "chat", security(("bearer" = [])),
    params(
        ("messageId" = i64, Path, minimum = 1),
        ("after" = Option<i64>, Query, description = "Number of characters that the client already has; default 0", minimum = 0),
        ("Last-Event-ID" = Option<String>, Header, description = "`<messageId>-<n>`: the same as `after=<n>`; takes precedence over `after`"),
        ("ascii" = Option<i64>, Query, description = "1: non-ASCII characters are written as \\uXXXX", minimum = 0, maximum = 1),
    ),
    responses(
        (status = 200, content_type = "text/event-stream", body = StreamEvent, description = "`start`, `message`…, `references`, then `done` or `error`"),
        ItemFailures<Problem>,
    ),
)]
pub(crate) async fn resume_reply(
    State(replies): State<Replies>,
    State(label): State<AiLabel>,
    caller: Caller,
    path: PathText,
    query: QueryText,
    headers: HeaderMap,
    limit: TimeLimit,
) -> Result<Response> {
    let encoding = Encoding::parse(&query)?;
    let last_event_id = headers.get("last-event-id").map(HeaderValue::as_bytes);
    let after = query.integer("after", 0, i64::MAX)?;
    let point = ResumePoint::parse(path.id("messageId")?, last_event_id, after)?;
    let (head, watch) = replies.resume(&caller, point, limit).await?;
    Ok(events::respond(head, watch, encoding, label))
}
