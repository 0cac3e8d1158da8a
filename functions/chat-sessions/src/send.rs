//! `POST /api/chat/sessions/{id}/messages`: sends a message. A background job generates the reply.

use axum::{extract::State, http::StatusCode};
use common::{
    Error, Result,
    chat::{
        messages::Content,
        sessions::{self, ContentType, IdempotencyKey, NewSessionMessage},
    },
    governance::auth::Caller,
    platform::error::Reason,
    web::{BodyFailures, HeaderText, Json, PathText, SessionProblem},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{AppState, view::MessageItem};

#[derive(Deserialize, ToSchema)]
#[schema(as = SendSessionMessageBody)]
pub(crate) struct Body {
    /// 1 to 8,000 characters after trimming.
    #[schema(required, min_length = 1, max_length = 8000)]
    content: Option<String>,
    /// Id of a message of this session.
    reply_to: Option<i64>,
    /// `markdown` (default) or `text`.
    content_type: Option<String>,
}

impl Body {
    fn parse(self, headers: &HeaderText) -> Result<NewSessionMessage> {
        let key = headers.once("Idempotency-Key")?;
        Ok(NewSessionMessage {
            content: Content::parse(self.content.as_deref())?,
            content_type: content_type(self.content_type.as_deref())?,
            reply_to: self.reply_to,
            key: key.map(IdempotencyKey::parse).transpose()?,
        })
    }
}

fn content_type(word: Option<&str>) -> Result<ContentType> {
    let Some(word) = word else {
        return Ok(ContentType::Markdown);
    };
    ContentType::parse(word).ok_or(Error::invalid("content_type", Reason::Unknown))
}

/// A message that was stored.
#[derive(Serialize, ToSchema)]
#[schema(as = StoredMessage)]
pub(crate) struct Stored {
    message: MessageItem,
    session_id: Uuid,
}

/// Sends a message to a bot. The reply appears later in the list of messages, as unread.
#[utoipa::path(
    post, path = "/api/chat/sessions/{id}/messages", tag = "sessions", security(("bearer" = [])),
    params(
        ("id" = Uuid, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "A repeat within 24 hours returns the same message; \
            printable ASCII", min_length = 1, max_length = 64),
    ),
    request_body = Body,
    responses(
        (status = 201, body = Stored),
        BodyFailures<SessionProblem>, (status = 422, body = SessionProblem), (status = 429, body = SessionProblem),
    ),
)]
pub(crate) async fn send_session_message(
    State(state): State<AppState>,
    caller: Caller,
    path: PathText,
    headers: HeaderText,
    Json(body): Json<Body>,
) -> Result<(StatusCode, Json<Stored>)> {
    let session_id = path.uuid("id")?;
    let message = body.parse(&headers)?;
    let AppState {
        db,
        queue,
        limits,
        moderation,
        ..
    } = state;
    let sent = sessions::send(&db, &caller, session_id, &message, limits, &moderation).await?;
    if sent.is_new {
        queue.notify_workers(1).await;
    }
    let message = MessageItem::sent(session_id, caller, &message, sent);
    let stored = Stored {
        message,
        session_id,
    };
    Ok((StatusCode::CREATED, Json(stored)))
}
