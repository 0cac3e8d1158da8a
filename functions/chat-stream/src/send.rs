//! `POST /api/xcx/chat/stream`: sends a message and streams its reply (CHAT-4).

use axum::{extract::State, response::Response};
use common::{
    Result,
    chat::{
        messages::{ClientMessageId, Content},
        replies::{Asked, NewMessage, Replies, ReplyHeader},
    },
    governance::{auth::Caller, notice::AiLabel},
    insights::pages::PageRequest,
    platform::{
        error::{Error, Reason},
        time_limit::TimeLimit,
    },
    web::{BodyFailures, Json, Problem, QueryText},
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::events::{self, Encoding, StreamEvent};

#[derive(Deserialize, ToSchema)]
#[schema(as = StreamBody)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Body {
    #[schema(required, minimum = 1, example = 1)]
    chat_id: Option<i64>,
    /// 1 to 8,000 characters after trimming.
    #[schema(required, min_length = 1, max_length = 8000)]
    content: Option<String>,
    /// The id of the last message of the user in this conversation. The new message replaces it and
    /// its reply.
    #[schema(minimum = 1)]
    edits: Option<i64>,
    /// The page of the mini-program that the message is sent from: `board-finance`,
    /// `board-customer`, `board-coach`, `task-detail`, `customer-detail`, `coach-detail` or
    /// `performance`.
    source_page: Option<String>,
    /// The filters of that page, including `contextId`. At most 4 KiB.
    #[schema(value_type = Option<Object>)]
    page_context: Option<serde_json::Value>,
    /// Idempotency key. A request with the same id resumes the reply of the first request.
    #[schema(min_length = 1, max_length = 64)]
    client_message_id: Option<String>,
}

impl Body {
    fn parse(self) -> Result<NewMessage> {
        let chat_id = self
            .chat_id
            .ok_or(Error::invalid("chatId", Reason::Missing))?;
        let page = PageRequest::parse(self.source_page.as_deref(), self.page_context)?;
        let content = Content::parse(self.content.as_deref())?;
        let asked = match self.edits {
            None => Asked::New(content),
            Some(message_id @ 1..) => Asked::Edit(content, message_id),
            Some(_) => return Err(Error::invalid("edits", Reason::Type)),
        };
        Ok(NewMessage {
            page,
            conversation_id: chat_id,
            asked,
            client_message_id: ClientMessageId::parse(self.client_message_id)?,
        })
    }
}

/// Sends a message and streams its reply as server-sent events.
#[utoipa::path(
    post, path = "/api/xcx/chat/stream", tag = "chat", security(("bearer" = [])),
    params(("ascii" = Option<i64>, Query, description = "1: non-ASCII characters are written as \\uXXXX", minimum = 0, maximum = 1)),
    request_body = Body,
    responses(
        (status = 200, content_type = "text/event-stream", body = StreamEvent, description = "`start`, `progress`…, `message`…, `references`, then `done` or `error`"),
        BodyFailures<Problem>, (status = 409, body = Problem), (status = 429, body = Problem),
    ),
)]
pub(crate) async fn stream_reply(
    State(replies): State<Replies>,
    State(label): State<AiLabel>,
    caller: Caller,
    query: QueryText,
    limit: TimeLimit,
    Json(body): Json<Body>,
) -> Result<Response> {
    let encoding = Encoding::parse(&query)?;
    let (start, watch) = replies.send(&caller, body.parse()?, limit, None).await?;
    Ok(events::respond(
        ReplyHeader::from(&start),
        watch,
        encoding,
        label,
    ))
}
