//! Messages: checks of a message's content and id, pages of a conversation, feedback, and messages
//! that admins block.

mod block;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, types::Json};

pub(in crate::chat) use self::block::block;
pub use self::block::set_blocked;

use crate::{
    dashscope::Reference,
    governance::{
        apps::App,
        auth::Caller,
        feedback::{self, Feedback, Origin, Subject, SubjectType},
    },
    platform::{
        db::{Db, StatementTimeout},
        env::{ConfigError, Env},
        error::{Error, Reason, Result},
        paging::{PageStart, Paging, write_cursor},
        words::words,
    },
};

/// Length limit of a message, in Unicode scalar values.
const MAX_CONTENT: usize = 8_000;
/// Length limit of a client's message id, in characters.
const MAX_CLIENT_ID: usize = 64;

/// Larger than any sequence number, and small enough to add to without overflow.
const FAR: i64 = i64::MAX / 4;

/// The text of a user's message: trimmed, 1 to 8,000 characters, without NUL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content(String);

impl Content {
    /// # Errors
    /// [`Error::Invalid`] if the text is missing, empty, too long or contains NUL.
    pub fn parse(text: Option<&str>) -> Result<Self> {
        let text = text
            .ok_or(Error::invalid("content", Reason::Missing))?
            .trim();
        if text.is_empty() {
            return Err(Error::invalid("content", Reason::Empty));
        }
        if text.chars().count() > MAX_CONTENT {
            return Err(Error::invalid("content", Reason::TooLong(MAX_CONTENT)));
        }
        if text.contains('\0') {
            return Err(Error::invalid("content", Reason::Nul));
        }
        Ok(Self(text.to_owned()))
    }

    /// The trimmed text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The id that a client gives a message. A repeat of the message has the same id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientMessageId(String);

impl ClientMessageId {
    /// # Errors
    /// [`Error::Invalid`] if the id is empty, longer than 64 characters or contains NUL.
    pub fn parse(text: Option<String>) -> Result<Option<Self>> {
        const FIELD: &str = "clientMessageId";
        let Some(text) = text else { return Ok(None) };
        if text.is_empty() {
            return Err(Error::invalid(FIELD, Reason::Empty));
        }
        if text.chars().count() > MAX_CLIENT_ID {
            return Err(Error::invalid(FIELD, Reason::TooLong(MAX_CLIENT_ID)));
        }
        if text.contains('\0') {
            return Err(Error::invalid(FIELD, Reason::Nul));
        }
        Ok(Some(Self(text)))
    }

    /// The id as the client sent it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One message of a conversation.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct Message {
    pub id: i64,
    /// `user`, `assistant` or `system`.
    pub role: String,
    /// The text so far. A fixed text if the message is blocked.
    pub content: String,
    /// Blocked by an admin.
    pub blocked: bool,
    /// `complete`, `streaming`, `stopped`, `interrupted` or `failed`.
    pub state: String,
    /// A card that the client shows next to the message.
    pub reference_card: Option<serde_json::Value>,
    /// The cited documents.
    pub references: Vec<Reference>,
    /// The caller's rating: `up` or `down`.
    pub rating: Option<String>,
    /// When it was stored. For a reply, when it began.
    pub created_at: DateTime<Utc>,
}

words! {
    /// Order of messages in the API.
    pub enum Order {
        /// Oldest first.
        Ascending = "asc",
        /// Newest first, for the chat screen.
        Descending = "desc",
    }
}

/// One page of a conversation.
#[derive(Debug)]
pub struct Messages {
    /// In the requested order.
    pub items: Vec<Message>,
    /// Number of messages of the conversation.
    pub total: i64,
    /// Cursor of the next page, if there is one.
    pub next_cursor: Option<String>,
}

/// The scope of cursors of this list. A cursor is valid only in its own scope.
pub fn list_scope(caller: &Caller, conversation_id: i64, order: Order) -> String {
    format!("messages/{}/{conversation_id}/{order:?}", caller.user_id)
}

/// Lists the messages of one of the caller's conversations.
///
/// Sequence numbers have no gaps. So each page is a range of them at any depth and in either order,
/// and the last number of a page shows whether more pages follow.
///
/// # Errors
/// [`Error::NotFound`], also for a conversation of another site. [`Error::NotOwner`] for a
/// conversation of another user.
pub async fn list(
    db: &Db,
    caller: &Caller,
    conversation_id: i64,
    order: Order,
    paging: &Paging<i64>,
) -> Result<Messages> {
    let (offset, key) = match paging.from {
        PageStart::Offset(offset) => (offset, None),
        // The key of a forged cursor must not overflow. It gives no access to other rows.
        PageStart::Key(key) => (0, Some(key.clamp(0, FAR))),
    };
    let descending = order == Order::Descending;
    let rows = sqlx::query!(
        r#"
        with conversation as (
            select c.id, c.user_id, c.message_count,
                   -- The last sequence number of the page when newest comes first.
                   least(coalesce($5::bigint - 1, c.message_count - $6), c.message_count) as newest
            from biz.ai_conversations c
            where c.id = $2 and c.site_id = $1
        )
        select c.user_id as owner, c.message_count as total,
               m.id as "id?", m.seq as "seq?", m.role as "role?", m.text as "content?",
               m.blocked_at is not null as "blocked!", m.state as "state?",
               case when m.blocked_at is null then m.reference_card end as reference_card,
               case when m.blocked_at is null then m.doc_references end as "references?: Json<Vec<Reference>>", m.created_at as "created_at?",
               (select f.rating::text from biz.ai_feedback f
                where f.site_id = $1 and f.user_id = $3 and f.subject_type = 'message' and f.subject_id = m.id) as rating
        from conversation c
        left join lateral (
            select *, visible_text(reply_text(m), m.blocked_at) as text from biz.ai_messages m
            where m.conversation_id = c.id and m.site_id = $1 and c.user_id = $3
              and m.seq > case when $4 then c.newest - $7 else coalesce($5, $6) end
              and m.seq <= case when $4 then c.newest else coalesce($5, $6) + $7 end
            -- The range has at most $7 rows. The limit tells the planner. Without it, the planner reads
            -- the whole table if the conversation is a large part of it.
            order by m.seq limit $7
        ) m on true
        order by m.seq
        "#,
        caller.site_id,
        conversation_id,
        caller.user_id,
        descending,
        key,
        offset.min(FAR),
        paging.size,
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await?;

    let Some(first) = rows.first() else {
        return Err(Error::NotFound);
    };
    if first.owner != caller.user_id {
        return Err(Error::NotOwner);
    }
    let total = first.total;
    let mut last = None;
    let mut items = Vec::with_capacity(rows.len());
    let rows: Box<dyn Iterator<Item = _> + Send> = if descending {
        Box::new(rows.into_iter().rev())
    } else {
        Box::new(rows.into_iter())
    };
    for row in rows {
        let (Some(id), Some(seq), Some(created_at)) = (row.id, row.seq, row.created_at) else {
            break;
        };
        last = Some(seq);
        items.push(Message {
            id,
            role: row.role.unwrap_or_default(),
            content: row.content.unwrap_or_default(),
            blocked: row.blocked,
            state: row.state.unwrap_or_default(),
            reference_card: row.reference_card,
            references: row
                .references
                .map(|Json(references)| references)
                .unwrap_or_default(),
            rating: row.rating,
            created_at,
        });
    }
    let more = last.is_some_and(|seq| if descending { seq > 1 } else { seq < total });
    let next_cursor = last
        .filter(|_| more)
        .and_then(|seq| write_cursor(&seq, &list_scope(caller, conversation_id, order)));
    Ok(Messages {
        items,
        total,
        next_cursor,
    })
}

/// Stores the caller's feedback on a reply, replaces it, or removes it (`None`). Idempotent.
///
/// # Errors
/// [`Error::NotFound`], also for a message of a user or of another site. [`Error::NotOwner`] for a
/// reply to another user.
pub async fn set_feedback(
    db: &Db,
    caller: &Caller,
    message_id: i64,
    feedback: Option<&Feedback>,
) -> Result<()> {
    let mut tx = db.transaction().await?;
    // A conversation has one reply at a time. So the newest run that began before the message was
    // stored is the run of the message. A bot's reply is stored at the end of its run.
    let reply = sqlx::query!(
        r#"
        select m.user_id, r.id as "run_id?", r.prompt_version
        from biz.ai_messages m
        left join lateral (
            select r.id, r.prompt_version from biz.ai_run_logs r
            where r.conversation_id = m.conversation_id and r.site_id = $1 and r.created_at <= m.created_at
            order by r.created_at desc limit 1
        ) r on true
        where m.id = $2 and m.site_id = $1 and m.role = 'assistant'
        for key share of m
        "#,
        caller.site_id,
        message_id,
    )
    .fetch_optional(&mut *tx)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    if reply.user_id != caller.user_id {
        return Err(Error::NotOwner);
    }
    let subject = Subject {
        kind: SubjectType::Message,
        id: message_id,
    };
    let origin = Origin {
        app: App::Chat,
        prompt_version: reply.prompt_version,
        run_id: reply.run_id,
    };
    feedback::set(&mut tx, caller, subject, &origin, feedback).await?;
    tx.commit().await?;
    Ok(())
}

/// Checks that a message is of one of the caller's conversations, and keeps it from being deleted
/// until the transaction ends.
///
/// # Errors
/// [`Error::NotFound`], also for a message of another site. [`Error::NotOwner`] for a message of
/// another user.
pub(in crate::chat) async fn check_owner(
    tx: &mut PgConnection,
    caller: &Caller,
    message_id: i64,
) -> Result<()> {
    let owner = sqlx::query_scalar!(
        "select user_id from biz.ai_messages where id = $2 and site_id = $1 for key share",
        caller.site_id,
        message_id,
    )
    .fetch_optional(tx)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    if owner == caller.user_id {
        Ok(())
    } else {
        Err(Error::NotOwner)
    }
}

#[cfg(test)]
mod properties;

/// Limits for messages to the chat and to bots.
#[derive(Clone, Copy, Debug)]
pub struct SendLimits {
    /// Messages per minute. 0 disables the limit.
    pub rate_per_minute: i32,
    /// Tokens reserved for a reply besides those of its prompt, until the app has an average.
    pub reserved_tokens: i64,
}

impl SendLimits {
    /// Reads `CHAT_RATE_PER_MINUTE` and `CHAT_RESERVED_TOKENS`.
    ///
    /// # Errors
    /// Names the variable that cannot be read.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        Ok(Self {
            rate_per_minute: env.parsed("CHAT_RATE_PER_MINUTE", "a whole number", 20)?,
            reserved_tokens: env.parsed("CHAT_RESERVED_TOKENS", "a whole number", 2000)?,
        })
    }
}
