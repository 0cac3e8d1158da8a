//! The JSON of bots, sessions and messages.

use chrono::{DateTime, Utc};
use common::{
    chat::{
        bots,
        sessions::{self, LastMessage, NewSessionMessage, Sent, SessionMessage},
    },
    governance::auth::Caller,
    web::Reference,
};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// A bot.
#[derive(Serialize, ToSchema)]
pub(crate) struct Bot {
    id: Uuid,
    name: String,
    /// Defaults to `name`.
    display_name: String,
    /// URL of an image.
    #[schema(required)]
    avatar: Option<String>,
    /// `active` or `disabled`.
    status: String,
}

impl From<bots::Bot> for Bot {
    fn from(bot: bots::Bot) -> Self {
        Self {
            id: bot.id,
            name: bot.name,
            display_name: bot.display_name,
            avatar: bot.avatar,
            status: bot.status,
        }
    }
}

/// A conversation with a bot.
#[derive(Serialize, ToSchema)]
pub(crate) struct Session {
    id: Uuid,
    user_id: i64,
    bot_id: Uuid,
    /// The bot's application when the session began.
    #[schema(required)]
    primary_agent_id: Option<Uuid>,
    title: String,
    channel_type: String,
    /// `active`, `paused` or `closed`.
    status: String,
    message_count: i64,
    /// Messages of the bot since the session was last marked as read.
    unread_count: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    /// Time of the newest message, or of creation if there is none.
    last_active_at: DateTime<Utc>,
    bot: Bot,
}

impl From<sessions::Session> for Session {
    fn from(session: sessions::Session) -> Self {
        Self {
            id: session.id,
            user_id: session.user_id,
            bot_id: session.bot.id,
            primary_agent_id: session.agent_id,
            title: session.title,
            channel_type: session.channel_type,
            status: session.status,
            message_count: session.message_count,
            unread_count: session.unread_count,
            created_at: session.created_at,
            updated_at: session.updated_at,
            last_active_at: session.last_active_at,
            bot: session.bot.into(),
        }
    }
}

/// A session in a list.
#[derive(Serialize, ToSchema)]
pub(crate) struct ListedSession {
    #[serde(flatten)]
    session: Session,
    /// Null if there is no message yet.
    #[schema(required)]
    last_message: Option<LastMessageView>,
}

/// The newest message of a session that has text.
#[derive(Serialize, ToSchema)]
#[schema(as = LastMessage)]
struct LastMessageView {
    id: i64,
    /// The first 100 characters.
    content: String,
    sender_type: Sender,
    created_at: DateTime<Utc>,
}

impl From<(sessions::Session, Option<LastMessage>)> for ListedSession {
    fn from((session, last): (sessions::Session, Option<LastMessage>)) -> Self {
        Self {
            session: session.into(),
            last_message: last.map(|message| LastMessageView {
                id: message.id,
                content: message.content,
                sender_type: Sender::of(&message.role),
                created_at: message.created_at,
            }),
        }
    }
}

/// The sender of a message.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Sender {
    User,
    Bot,
    System,
}

impl Sender {
    fn of(role: &str) -> Self {
        match role {
            "user" => Self::User,
            "assistant" => Self::Bot,
            _ => Self::System,
        }
    }
}

/// The delivery status of a message.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Delivery {
    /// A message of the user that is stored.
    Sent,
    /// A message of the bot that is not read yet.
    Delivered,
    /// A message of the bot that is read.
    Read,
    /// Takes the place of a reply that could not be generated.
    Failed,
}

/// Whether the recipient has handled the message.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Ack {
    Pending,
    /// The bot has replied to the user's message, or the user has read the bot's message.
    Acked,
}

/// A message of a session.
#[derive(Serialize, ToSchema)]
#[schema(as = SessionMessage)]
pub(crate) struct MessageItem {
    id: i64,
    session_id: Uuid,
    sender_type: Sender,
    /// Id of the user or the bot. Null for a system message.
    #[schema(required)]
    sender_id: Option<String>,
    sender_name: String,
    /// The bot of the session, for every sender.
    bot_id: Uuid,
    /// `text`.
    message_type: &'static str,
    content: String,
    /// `markdown` or `text`.
    content_type: String,
    /// The documents that the bot cites, sorted by index.
    #[schema(max_items = 20)]
    references: Vec<Reference>,
    /// Id of the message that this one replies to.
    #[schema(required)]
    reply_to: Option<i64>,
    status: Delivery,
    ack_status: Ack,
    created_at: DateTime<Utc>,
}

impl MessageItem {
    /// A message read from a session.
    pub(crate) fn new(
        session_id: Uuid,
        caller: &Caller,
        bot_id: Uuid,
        message: SessionMessage,
    ) -> Self {
        let sender_type = Sender::of(&message.role);
        let status = match sender_type {
            Sender::User => Delivery::Sent,
            _ if message.state == "failed" => Delivery::Failed,
            _ if message.seen => Delivery::Read,
            _ => Delivery::Delivered,
        };
        Self {
            id: message.id,
            session_id,
            sender_type,
            sender_id: match sender_type {
                Sender::User => Some(caller.user_id.to_string()),
                Sender::Bot => Some(bot_id.to_string()),
                Sender::System => None,
            },
            sender_name: message.sender_name,
            bot_id,
            message_type: "text",
            content: message.content,
            content_type: message.content_type,
            references: Reference::all(message.references),
            reply_to: message.reply_to,
            status,
            ack_status: if message.seen {
                Ack::Acked
            } else {
                Ack::Pending
            },
            created_at: message.created_at,
        }
    }

    /// A message that was sent, now or by an earlier request with the same idempotency key.
    pub(crate) fn sent(
        session_id: Uuid,
        caller: Caller,
        message: &NewSessionMessage,
        sent: Sent,
    ) -> Self {
        Self {
            id: sent.id,
            session_id,
            sender_type: Sender::User,
            sender_id: Some(caller.user_id.to_string()),
            sender_name: caller.nickname,
            bot_id: sent.bot_id,
            message_type: "text",
            content: message.content.as_str().to_owned(),
            content_type: message.content_type.name().to_owned(),
            references: Vec::new(),
            reply_to: message.reply_to,
            status: Delivery::Sent,
            ack_status: Ack::Pending,
            created_at: sent.created_at,
        }
    }
}
