//! Conversations: opens the conversation of a context, lists, searches and exports conversations,
//! and lets their users rename, pin and delete them.

mod export;
mod manage;
mod search;

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::FutureExt as _;

pub use self::{
    export::{ExportedConversation, ExportedMessage, Part, export},
    manage::{Change, change, delete},
    search::{Hit, Hits, SearchText, search},
};

pub(super) use manage::delete_some;

use crate::{
    governance::auth::Caller,
    platform::{
        db::{self, Db, SWEEP_LIMIT, StatementTimeout, SweptRows},
        error::{Error, Reason, Result},
        paging::{GroupedKey, Paging, Start, page},
        words::words,
    },
};

/// The longest context id, in characters.
const MAX_CONTEXT_ID: usize = 64;

/// Conversations of a user without a message. A new one beyond this deletes the oldest one.
pub(super) const MAX_EMPTY: i32 = 50;

/// How long a conversation without a message is kept after it was last opened.
const EMPTY_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

words! {
    /// What a chat of the mini-program is about, as in the API and the column `context_type`.
    pub enum ContextType {
        /// No particular subject. After 30 minutes without activity, a new conversation begins.
        General = "general",
        /// A task. Has one conversation for all time.
        Task = "task",
        /// A member. After 3 days without activity, a new conversation begins.
        Customer = "customer",
        /// A coach. After 3 days without activity, a new conversation begins.
        Coach = "coach",
        /// A board. Has one conversation per business date.
        Board = "board",
        /// A bot. `sessions::open` finds its conversation.
        Bot = "bot",
    }
}

impl ContextType {
    /// How long after its last activity a conversation is reused. A task and a board have a fixed
    /// conversation, and a bot has a rule of its own, so the value is not used for them.
    fn reused_for(self) -> Duration {
        const MINUTE: Duration = Duration::from_secs(60);
        match self {
            Self::General => 30 * MINUTE,
            Self::Task | Self::Customer | Self::Coach | Self::Board | Self::Bot => {
                3 * 24 * 60 * MINUTE
            }
        }
    }
}

/// The key of a conversation, besides its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    kind: ContextType,
    id: String,
}

impl Context {
    /// Checks the two query parameters.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a parameter is missing, or if the id is too long. The id may be empty
    /// only for `general` and `board`.
    pub fn parse(kind: Option<ContextType>, id: Option<&str>) -> Result<Self> {
        let kind = kind.ok_or(Error::invalid("contextType", Reason::Missing))?;
        let id = id.ok_or(Error::invalid("contextId", Reason::Missing))?;
        if id.is_empty() && !matches!(kind, ContextType::General | ContextType::Board) {
            return Err(Error::invalid("contextId", Reason::Empty));
        }
        if id.chars().count() > MAX_CONTEXT_ID {
            return Err(Error::invalid("contextId", Reason::TooLong(MAX_CONTEXT_ID)));
        }
        Ok(Self {
            kind,
            id: id.to_owned(),
        })
    }

    /// The bot, if the conversation is with a bot.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the context id is not a UUID of 36 characters.
    pub fn bot_id(&self) -> Result<Option<uuid::Uuid>> {
        if self.kind != ContextType::Bot {
            return Ok(None);
        }
        let id = uuid::Uuid::try_parse(&self.id).ok();
        id.filter(|_| self.id.len() == uuid::fmt::Hyphenated::LENGTH)
            .map(Some)
            .ok_or(Error::invalid("contextId", Reason::NotAnId))
    }
}

/// Returns the caller's conversation for a context: the current one, or a new one. Not for bots.
pub async fn open(db: &Db, caller: &Caller, context: &Context) -> Result<i64> {
    sqlx::query_scalar!(
        r#"select open_conversation($1, $2, $3, $4, $5, $6) as "id!""#,
        caller.site_id,
        caller.user_id,
        context.kind.name(),
        context.id,
        context.kind.reused_for().as_secs_f64(),
        MAX_EMPTY,
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await
}

/// Deletes a limited number of conversations without a message that were not opened for a day.
pub async fn sweep_empty(db: &Db) -> Result<SweptRows> {
    let Some(mut tx) = db.sweep_transaction().await? else {
        return Ok(SweptRows::default());
    };
    let ids = sqlx::query_scalar!(
        "select id from biz.ai_conversations
         where message_count = 0 and last_active_at < now() - make_interval(secs => $1)
         order by last_active_at limit $2 for update skip locked",
        EMPTY_LIFETIME.as_secs_f64(),
        SWEEP_LIMIT,
    )
    .fetch_all(&mut *tx)
    .with_statement_timeout()
    .await?;
    let deleted = db::sweep_rows(&mut tx, "empty_conversations", &ids, |tx, ids| {
        sqlx::query!(
            "with removed as (
                 delete from biz.ai_conversations where id = any ($1) returning site_id, user_id, bot_id
             ), counted as (
                 update biz.users w set listed_sessions = w.listed_sessions - r.sessions
                 from (select site_id, user_id, count(*) as sessions from removed
                       where bot_id is not null group by site_id, user_id) r
                 where w.id = r.user_id and w.site_id = r.site_id
             )
             select from removed",
            ids
        )
        .execute(tx)
        .boxed()
    })
    .await?;
    tx.commit().await?;
    Ok(deleted)
}

/// A conversation in the list.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct Conversation {
    /// The chat id of the mini-program.
    pub id: i64,
    /// The session id of the session API.
    pub public_id: uuid::Uuid,
    /// Set by a client. Defaults to the first 30 characters of the first message.
    pub title: String,
    /// Pinned by its user.
    pub pinned: bool,
    /// `general`, `task`, `customer`, `coach`, `board` or `bot`.
    pub context_type: String,
    /// The id that the client gave.
    pub context_id: String,
    /// The first 100 characters of the newest message that has text.
    pub last_message: String,
    /// When that message was stored. For a reply, when it began.
    pub last_message_at: Option<DateTime<Utc>>,
    pub message_count: i64,
    /// Replies of bots that the user has not read.
    pub unread_count: i64,
    pub created_at: DateTime<Utc>,
}

/// A page of conversations.
#[derive(Debug)]
pub struct Conversations {
    /// Pinned ones first, then newest activity first, ties by id.
    pub items: Vec<Conversation>,
    /// Number of conversations that have a message.
    pub total: i64,
    /// Cursor of the next page, if there is one.
    pub next_cursor: Option<String>,
}

/// The scope of cursors of this list. A cursor is valid only in its own scope.
pub fn list_scope(caller: &Caller) -> String {
    format!("history/{}", caller.user_id)
}

/// Lists the caller's conversations that have a message: pinned ones first, each group by its
/// newest activity.
pub async fn list(db: &Db, caller: &Caller, paging: &Paging<GroupedKey>) -> Result<Conversations> {
    let (pinned, start) = Start::of_grouped(paging.from);
    // The total is a counter of the user, because counting rows becomes slower with each
    // conversation. The join is lateral so that an empty page still has the total. The query reads
    // one row more than the page to find out whether there is a next page.
    let rows = sqlx::query!(
        r#"
        select u.listed_conversations as total,
               c.id as "id?", c.public_id as "public_id?", coalesce(c.title, '') as "title!", c.pinned as "pinned?",
               c.context_type as "context_type?", c.context_id as "context_id?",
               coalesce(c.last_message_preview, '') as "last_message!", c.last_message_at,
               c.last_active_at as "last_active_at?", c.message_count as "message_count?",
               c.unread_count as "unread_count?", c.created_at as "created_at?"
        from biz.users u
        left join lateral (
            select * from biz.ai_conversations c
            where c.site_id = $1 and c.user_id = $2 and c.message_count > 0
              and (c.pinned, c.last_active_at, c.id)
                  < ($7, coalesce($3, 'infinity'::timestamptz), coalesce($4::bigint, 0))
            order by c.pinned desc, c.last_active_at desc, c.id desc
            limit $5 offset $6
        ) c on true
        where u.id = $2 and u.site_id = $1
        order by c.pinned desc, c.last_active_at desc, c.id desc
        "#,
        caller.site_id,
        caller.user_id,
        start.before,
        start.before_id,
        paging.size + 1,
        start.offset,
        pinned,
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await?;

    let total = rows.first().map_or(0, |row| row.total);
    let rows = rows.into_iter().filter_map(|row| {
        let key = (row.pinned?, row.last_active_at?.timestamp_micros(), row.id?);
        let conversation = Conversation {
            id: row.id?,
            public_id: row.public_id?,
            title: row.title,
            pinned: row.pinned?,
            context_type: row.context_type?,
            context_id: row.context_id?,
            last_message: row.last_message,
            last_message_at: row.last_message_at,
            message_count: row.message_count?,
            unread_count: row.unread_count?,
            created_at: row.created_at?,
        };
        Some((key, conversation))
    });
    let (items, next_cursor) = page(rows, paging.size, &list_scope(caller));
    Ok(Conversations {
        items,
        total,
        next_cursor,
    })
}

#[cfg(test)]
mod properties;
