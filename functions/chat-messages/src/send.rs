//! `POST /api/xcx/chat/{chatId}/messages`: sends a message and returns the reply as JSON (CHAT-3).

use std::time::Duration;

use axum::extract::State;
use chrono::{DateTime, Utc};
use common::{
    Result,
    chat::{
        messages::{ClientMessageId, Content},
        replies::{Asked, Failure, FinishReason, NewMessage, Replies, Reply, State as ReplyState},
    },
    governance::auth::Caller,
    insights::insight::ReferenceCard,
    platform::time_limit::TimeLimit,
    web::{BodyFailures, CONTENT_BLOCKED, Json, PathText, Problem, Reference},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How long a request waits for the complete reply.
const MAX_WAIT: Duration = Duration::from_secs(120);
/// The content of a failed reply.
const UNAVAILABLE: &str = "AI 服务暂时不可用，请稍后再试";

#[derive(Deserialize, ToSchema)]
#[schema(as = SendBody)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Body {
    /// 1 to 8,000 characters after trimming.
    #[schema(required, min_length = 1, max_length = 8000)]
    content: Option<String>,
    /// Idempotency key. A request with the same id returns the reply of the first request.
    #[schema(min_length = 1, max_length = 64)]
    client_message_id: Option<String>,
}

/// A message and its reply.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    user_message: UserMessage,
    ai_reply: AiReply,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct UserMessage {
    id: i64,
    content: String,
    created_at: DateTime<Utc>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AiReply {
    id: i64,
    content: String,
    created_at: DateTime<Utc>,
    /// `complete`, `stopped`, `interrupted` or `failed`. `streaming` if the reply took longer than
    /// 120 seconds, or if newer requests read it.
    status: &'static str,
    /// The cited documents, sorted by index.
    #[schema(max_items = 20)]
    references: Vec<Reference>,
    /// Always true.
    ai_generated: bool,
    /// `stop`, or `length` if the model reached its length limit. Null if the reply did not end by
    /// itself.
    #[schema(required)]
    finish_reason: Option<&'static str>,
    /// As in lists of messages. Only a repeat of a message that was asked on a page has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    reference_card: Option<ReferenceCard>,
}

/// Sends a message and waits for its reply. If the AI fails, the reply has the status `failed`.
#[utoipa::path(
    post, path = "/api/xcx/chat/{chatId}/messages", tag = "chat", security(("bearer" = [])),
    params(("chatId" = i64, Path, minimum = 1, example = 1)),
    request_body = Body,
    responses(
        (status = 200, body = Answer),
        BodyFailures<Problem>, (status = 409, body = Problem), (status = 429, body = Problem),
    ),
)]
pub(crate) async fn send_message(
    State(replies): State<Replies>,
    caller: Caller,
    path: PathText,
    limit: TimeLimit,
    Json(body): Json<Body>,
) -> Result<Json<Answer>> {
    let conversation_id = path.id("chatId")?;
    let question = Content::parse(body.content.as_deref())?;
    let content = question.as_str().to_owned();
    let message = NewMessage {
        conversation_id,
        asked: Asked::New(question),
        client_message_id: ClientMessageId::parse(body.client_message_id)?,
        page: None,
    };
    let (start, watch) = replies
        .send(&caller, message, limit, Some(MAX_WAIT))
        .await?;
    let reply = watch.collect(MAX_WAIT).await;
    Ok(Json(Answer {
        user_message: UserMessage {
            id: start.user_message_id,
            content,
            created_at: start.user_message_at,
        },
        ai_reply: AiReply::new(start.message_id, start.created_at, reply),
    }))
}

impl AiReply {
    fn new(id: i64, created_at: DateTime<Utc>, reply: Reply) -> Self {
        let content = match (reply.state, reply.failure) {
            (ReplyState::Failed, Some(Failure::ContentBlocked)) => CONTENT_BLOCKED.to_owned(),
            (ReplyState::Failed, _) => UNAVAILABLE.to_owned(),
            _ => reply.text,
        };
        Self {
            id,
            content,
            created_at,
            status: reply.state.name(),
            references: Reference::all(reply.references),
            ai_generated: true,
            finish_reason: reply.finish_reason.map(FinishReason::name),
            reference_card: reply.card,
        }
    }
}
