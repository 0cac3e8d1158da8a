//! `GET /api/xcx/chat/stream/{messageId}`: a reply read on from anywhere (CHAT-5).

use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, HeaderValue},
    response::Response,
};
use common::{
    Result,
    chat::replies::{Replies, ResumePoint},
    governance::auth::Caller,
    web::{Deadline, ItemFailures, PathText, Problem, QueryText},
};

use crate::events::{self, Encoding, StreamEvent};

/// Reads a reply on: what is stored at once, then what is still being made.
#[utoipa::path(
    get, path = "/api/xcx/chat/stream/{messageId}", tag = "chat", security(("bearer" = [])),
    params(
        ("messageId" = i64, Path, minimum = 1),
        ("after" = Option<i64>, Query, description = "Characters that the client has; 0 without it", minimum = 0),
        ("Last-Event-ID" = Option<String>, Header, description = "`<messageId>-<n>`: the same as `after=<n>`, and it counts where both are given"),
        ("ascii" = Option<i64>, Query, description = "1: everything outside ASCII is written as \\uXXXX", minimum = 0, maximum = 1),
    ),
    responses(
        (status = 200, content_type = "text/event-stream", body = StreamEvent, description = "`start`, `message`…, then `done` or `error`"),
        ItemFailures<Problem>,
    ),
)]
pub(crate) async fn resume_reply(
    State(replies): State<Replies>,
    caller: Caller,
    path: PathText,
    query: QueryText,
    headers: HeaderMap,
    deadline: Option<Extension<Deadline>>,
) -> Result<Response> {
    let encoding = Encoding::parse(&query)?;
    let last_event_id = headers.get("last-event-id").map(HeaderValue::as_bytes);
    let after = query.integer("after", 0, i64::MAX)?;
    let place = ResumePoint::parse(path.id("messageId")?, last_event_id, after)?;
    let killed_at = deadline.map(|Extension(Deadline(at))| at);
    let (head, watch) = replies.resume(&caller, place, killed_at).await?;
    Ok(events::respond(head, watch, encoding))
}
