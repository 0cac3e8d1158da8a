//! `GET /api/xcx/chat/export`: all conversations of the caller as JSON Lines.
//!
//! A line is written in parts, so that a long conversation is never in memory as a whole. If an
//! error occurs after the first bytes, the connection is closed.

use axum::{
    body::Body,
    extract::State,
    http::header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use common::{
    Error, Result,
    chat::conversations::{self, ExportedConversation, ExportedMessage, Part},
    governance::{
        auth::Caller,
        notice::{AiLabel, Notice},
    },
    platform::db::Db,
    web::{Failures, Problem},
};
use futures_util::StreamExt as _;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Head {
    id: i64,
    session_id: Uuid,
    title: String,
    context_type: String,
    context_id: String,
    pinned: bool,
    created_at: DateTime<Utc>,
}

impl From<ExportedConversation> for Head {
    fn from(conversation: ExportedConversation) -> Self {
        Self {
            id: conversation.id,
            session_id: conversation.public_id,
            title: conversation.title,
            context_type: conversation.context_type,
            context_id: conversation.context_id,
            pinned: conversation.pinned,
            created_at: conversation.created_at,
        }
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ExportedMessage)]
struct MessageView {
    id: i64,
    /// `user`, `assistant` or `system`.
    role: String,
    content: String,
    created_at: DateTime<Utc>,
    /// `complete`, `streaming`, `stopped`, `interrupted` or `failed`.
    status: String,
    /// The label of AI text, for messages of the assistant.
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
}

impl MessageView {
    fn new(message: ExportedMessage, label: &AiLabel) -> Self {
        Self {
            id: message.id,
            label: (message.role == "assistant").then(|| label.as_str().to_owned()),
            role: message.role,
            content: message.content,
            created_at: message.created_at,
            status: message.state,
        }
    }
}

/// Exports all conversations of the caller as JSON Lines, one conversation per line.
#[utoipa::path(
    get, path = "/api/xcx/chat/export", tag = "chat", security(("bearer" = [])),
    responses(
        (status = 200, content_type = "application/x-ndjson", body = String, description = "Lines of `{id, sessionId, title, contextType, contextId, pinned, createdAt, messages: [{id, role, content, createdAt, status, label?}]}`"),
        Failures<Problem>,
    ),
)]
pub(crate) async fn export_chats(
    State(db): State<Db>,
    State(notice): State<Notice>,
    caller: Caller,
) -> Result<Response> {
    let parts = conversations::export(db, caller).await?;
    let lines = parts.scan(false, move |follows, part| {
        let written = part.and_then(|part| write(part, follows, &notice.label));
        std::future::ready(Some(written))
    });
    let headers = [
        (CONTENT_TYPE, "application/x-ndjson"),
        (CONTENT_DISPOSITION, "attachment; filename=\"chats.jsonl\""),
    ];
    Ok((headers, Body::from_stream(lines)).into_response())
}

/// Writes a part of a line. `follows` is true if a message is not the first of its conversation.
fn write(part: Part, follows: &mut bool, label: &AiLabel) -> Result<Bytes> {
    let mut line = Vec::new();
    match part {
        Part::Conversation(conversation) => {
            *follows = false;
            line = json(&Head::from(conversation))?;
            // The messages become the last member of the object.
            line.pop();
            line.extend_from_slice(b",\"messages\":[");
        }
        Part::Messages(messages) => {
            for message in messages {
                if std::mem::replace(follows, true) {
                    line.push(b',');
                }
                line.append(&mut json(&MessageView::new(message, label))?);
            }
        }
        Part::End => line.extend_from_slice(b"]}\n"),
    }
    Ok(line.into())
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|err| Error::Internal("a line could not be written".into(), Some(err.into())))
}
