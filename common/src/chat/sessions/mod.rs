//! Sessions: conversations with bots, for the session API. They are rows of the same table as the
//! conversations of the mini-program, with a public id.

mod change;
mod create;
mod list;
mod messages;
mod read;
mod send;

use chrono::{DateTime, Utc};
use uuid::Uuid;

pub use self::{
    change::{Change, change, close},
    create::{create, open},
    list::{LastMessage, SessionQuery, Sessions, list},
    messages::{Range, SessionMessage, SessionMessages, messages},
    read::mark_read,
    send::{ContentType, IdempotencyKey, NewSessionMessage, Sent, send, sweep_idempotency_keys},
};
pub use crate::chat::titles::Title;
use crate::{
    chat::bots::Bot,
    governance::auth::Caller,
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Reason, Result},
        words::words,
    },
};

words! {
    /// Status of a session, as in the API and the column `status`.
    pub enum Status {
        /// Accepts messages.
        Active = "active",
        /// Accepts no messages until it is active again.
        Paused = "paused",
        /// Accepts no messages. Final.
        Closed = "closed",
    }
}

/// A conversation with a bot.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct Session {
    /// The public id.
    pub id: Uuid,
    /// The owner.
    pub user_id: i64,
    pub bot: Bot,
    /// The bot's agent when the session was created.
    pub agent_id: Option<Uuid>,
    pub title: String,
    /// `api` or `miniprogram`.
    pub channel_type: String,
    /// `active`, `paused` or `closed`.
    pub status: String,
    pub message_count: i64,
    /// Replies of the bot that the user has not read.
    pub unread_count: i64,
    pub created_at: DateTime<Utc>,
    /// Last change of any kind.
    pub updated_at: DateTime<Utc>,
    /// Time of the newest message; without messages, of the creation.
    pub last_active_at: DateTime<Utc>,
}

/// Reads one of the caller's sessions.
///
/// # Errors
/// [`Error::NotFound`], also for a session of another site. [`Error::NotOwner`] for a session of
/// another user. [`Error::Invalid`] for a conversation without a bot.
pub async fn find(db: &Db, caller: &Caller, id: Uuid) -> Result<Session> {
    let row = sqlx::query!(
        r#"
        select c.user_id, c.agent_id, coalesce(c.title, '') as "title!", c.channel_type, c.status, c.message_count, c.unread_count,
               c.created_at, c.updated_at, c.last_active_at,
               b.id as "bot_id?", b.name as "bot_name?", coalesce(b.display_name, b.name) as bot_display_name,
               b.avatar as "bot_avatar?", b.status as "bot_status?"
        from biz.ai_conversations c
        left join biz.bots b on b.id = c.bot_id
        where c.public_id = $2 and c.site_id = $1
        "#,
        caller.site_id,
        id,
    )
    .fetch_optional(db)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    let bot = Bot::joined(
        row.bot_id,
        row.bot_name,
        row.bot_display_name,
        row.bot_avatar,
        row.bot_status,
    );
    Ok(Session {
        id,
        user_id: row.user_id,
        bot: owned_bot(caller, row.user_id, bot)?,
        agent_id: row.agent_id,
        title: row.title,
        channel_type: row.channel_type,
        status: row.status,
        message_count: row.message_count,
        unread_count: row.unread_count,
        created_at: row.created_at,
        updated_at: row.updated_at,
        last_active_at: row.last_active_at,
    })
}

/// Checks that the caller owns the session, and returns its bot. Each function with a session id
/// calls this first.
fn owned_bot<B>(caller: &Caller, owner: i64, bot: Option<B>) -> Result<B> {
    if owner != caller.user_id {
        return Err(Error::NotOwner);
    }
    bot.ok_or(Error::invalid("id", Reason::NotABot))
}

#[cfg(test)]
mod properties;
