//! `GET /api/chat/sessions/{id}/messages`: lists messages, in pages or by polling.

use axum::extract::State;
use common::{
    Error, Result,
    chat::sessions::{self, Range},
    governance::auth::Caller,
    platform::{db::Db, error::Reason, paging::MAX_PAGE_SIZE},
    web::{ItemFailures, Json, PathText, QueryText, SessionProblem},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::view::MessageItem;

/// Messages on a page, unless the client requests another number.
const LIMIT: i64 = 50;

/// A page of a session's messages.
#[derive(Serialize, ToSchema)]
#[schema(as = SessionMessagesPage)]
pub(crate) struct MessagesPage {
    /// Oldest first.
    messages: Vec<MessageItem>,
    /// Number of messages on this page.
    count: usize,
    /// With `after`, whether there are newer messages. Otherwise, whether there are older ones.
    has_more: bool,
}

/// Lists messages of one of the caller's sessions: the newest, or those before or after a message.
#[utoipa::path(
    get, path = "/api/chat/sessions/{id}/messages", tag = "sessions", security(("bearer" = [])),
    params(
        ("id" = uuid::Uuid, Path),
        ("limit" = Option<usize>, Query, description = "Default 50; values over 100 mean 100", minimum = 1),
        ("before" = Option<i64>, Query, description = "Id of a message of this session", minimum = 1),
        ("after" = Option<i64>, Query, description = "Id of a message of this session, for polling; not with `before`", minimum = 1),
    ),
    responses(
        (status = 200, body = MessagesPage),
        ItemFailures<SessionProblem>,
    ),
)]
pub(crate) async fn list_session_messages(
    State(db): State<Db>,
    caller: Caller,
    path: PathText,
    query: QueryText,
) -> Result<Json<MessagesPage>> {
    let id = path.uuid("id")?;
    let limit = query.limit("limit", LIMIT, MAX_PAGE_SIZE)?;
    let range = range(&query)?;
    let found = sessions::messages(&db, &caller, id, range, limit).await?;
    let (bot_id, items) = (found.bot_id, found.items.into_iter());
    let messages: Vec<_> = items
        .map(|message| MessageItem::new(id, &caller, bot_id, message))
        .collect();
    Ok(Json(MessagesPage {
        count: messages.len(),
        messages,
        has_more: found.has_more,
    }))
}

fn range(query: &QueryText) -> Result<Range> {
    let before = query.integer("before", 1, i64::MAX)?;
    let after = query.integer("after", 1, i64::MAX)?;
    match (before, after) {
        (Some(_), Some(_)) => Err(Error::invalid("after", Reason::Exclusive("before"))),
        (Some(id), None) => Ok(Range::Before(id)),
        (None, Some(id)) => Ok(Range::After(id)),
        (None, None) => Ok(Range::Newest),
    }
}
