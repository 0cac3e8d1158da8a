//! The JSON of messages.

use chrono::{DateTime, Utc};
use common::{
    chat::messages::{Message, Messages},
    platform::paging::Paging,
    web::{GivenRating, Reference},
};
use serde::Serialize;
use utoipa::ToSchema;

/// A page of the messages of a conversation.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessagesPage {
    chat_id: i64,
    items: Vec<MessageItem>,
    /// Number of messages of the conversation.
    total: i64,
    page: i64,
    page_size: i64,
    #[schema(required)]
    next_cursor: Option<String>,
}

/// A message.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MessageItem {
    id: i64,
    /// `user`, `assistant` or `system`.
    role: String,
    /// A fixed text if the message is blocked.
    content: String,
    /// True if an admin has blocked the message.
    blocked: bool,
    created_at: DateTime<Utc>,
    /// `complete`, `streaming`, `stopped`, `interrupted` or `failed`.
    status: String,
    /// True for messages of the assistant.
    ai_generated: bool,
    /// The insight that the prompt of the reply contained: `{type, title, summary, data}`. Missing
    /// if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    reference_card: Option<serde_json::Value>,
    /// The cited documents, sorted by index. Empty for messages of the user.
    #[schema(max_items = 20)]
    references: Vec<Reference>,
    /// The caller's feedback on the message.
    #[schema(required)]
    feedback: Option<GivenRating>,
}

impl MessagesPage {
    pub(crate) fn new(chat_id: i64, paging: &Paging<i64>, found: Messages) -> Self {
        Self {
            chat_id,
            items: found.items.into_iter().map(MessageItem::from).collect(),
            total: found.total,
            page: paging.page,
            page_size: paging.size,
            next_cursor: found.next_cursor,
        }
    }
}

impl From<Message> for MessageItem {
    fn from(message: Message) -> Self {
        Self {
            id: message.id,
            ai_generated: message.role == "assistant",
            role: message.role,
            content: message.content,
            blocked: message.blocked,
            created_at: message.created_at,
            status: message.state,
            reference_card: message.reference_card,
            references: Reference::all(message.references),
            feedback: message.rating.map(|rating| GivenRating { rating }),
        }
    }
}
