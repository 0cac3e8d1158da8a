//! A message to a bot, whose reply is made in the background.

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{
    chat::messages::{Content, SendLimits},
    governance::auth::Caller,
    platform::{
        db::{self, Db, SWEEP_LIMIT, StatementTimeout},
        error::{Error, Reason, Result},
        words::words,
    },
};

/// The longest idempotency key, in characters.
const MAX_KEY: usize = 64;

/// How long an idempotency key is remembered.
const KEY_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The `Idempotency-Key` of a message: sent again within a day, it is the same message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// 1 to 64 printable ASCII characters.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        const FIELD: &str = "Idempotency-Key";
        if bytes.is_empty() {
            return Err(Error::invalid(FIELD, Reason::Empty));
        }
        if bytes.len() > MAX_KEY {
            return Err(Error::invalid(FIELD, Reason::TooLong(MAX_KEY)));
        }
        let printable = bytes.iter().all(|byte| (b' '..=b'~').contains(byte));
        match std::str::from_utf8(bytes) {
            Ok(text) if printable => Ok(Self(text.to_owned())),
            _ => Err(Error::invalid(FIELD, Reason::NotPrintable)),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

words! {
    /// How a message is shown, as clients and the column `content_type` spell it.
    pub enum ContentType {
        /// The default.
        Markdown = "markdown",
        /// Plain text.
        Text = "text",
    }
}

/// A message that is sent to a bot.
#[derive(Clone, Debug)]
pub struct NewSessionMessage {
    /// What.
    pub content: Content,
    /// How it is to be shown.
    pub content_type: ContentType,
    /// Which message it answers.
    pub reply_to: Option<i64>,
    /// So that a repeat can be told.
    pub key: Option<IdempotencyKey>,
}

/// What was stored.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Id.
    pub id: i64,
    /// Who will answer it.
    pub bot_id: Uuid,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
    /// Whether its reply was queued just now.
    pub is_new: bool,
}

words! {
    /// What `send_session_message` returns.
    enum Outcome {
        Sent = "sent",
        Repeat = "repeat",
        NotFound = "not_found",
        NotOwner = "not_owner",
        NotABot = "not_a_bot",
        Closed = "closed",
        Paused = "paused",
        ReplyTo = "reply_to",
        KeyReused = "key_reused",
        RateLimited = "rate_limited",
        BudgetExceeded = "budget_exceeded",
    }
}

/// Stores a message and queues its reply, in one statement.
///
/// # Errors
/// As [`super::find`]; [`Error::Invalid`] also where the session takes no messages, and where `reply_to` is no message of
/// this session; [`Error::KeyReused`]; [`Error::RateLimited`] and [`Error::BudgetExceeded`].
pub async fn send(
    db: &Db,
    caller: &Caller,
    id: Uuid,
    message: &NewSessionMessage,
    limits: SendLimits,
) -> Result<Sent> {
    let row = sqlx::query!(
        r#"
        select s.outcome as "outcome!", s.message_id, s.message_at, s.retry_after, c.bot_id as "bot_id?"
        from send_session_message($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) s
        left join biz.ai_conversations c on c.id = s.conversation_id and c.site_id = $1
        "#,
        caller.site_id,
        caller.user_id,
        id,
        message.content.as_str(),
        message.content_type.name(),
        message.reply_to,
        message.key.as_ref().map(IdempotencyKey::as_str),
        KEY_LIFETIME.as_secs_f64(),
        limits.rate_per_minute,
        limits.reserved_tokens,
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await?;
    let retry_after = row.retry_after.unwrap_or(1);
    let is_new = match Outcome::from_sql(&row.outcome, "send_session_message")? {
        Outcome::Sent => true,
        Outcome::Repeat => false,
        Outcome::NotFound => return Err(Error::NotFound),
        Outcome::NotOwner => return Err(Error::NotOwner),
        Outcome::NotABot => return Err(Error::invalid("id", Reason::NotABot)),
        Outcome::Closed => return Err(Error::invalid("id", Reason::Closed)),
        Outcome::Paused => return Err(Error::invalid("id", Reason::Paused)),
        Outcome::ReplyTo => return Err(Error::invalid("reply_to", Reason::NotOfThisSession)),
        Outcome::KeyReused => return Err(Error::KeyReused),
        Outcome::RateLimited => return Err(Error::RateLimited { retry_after }),
        Outcome::BudgetExceeded => return Err(Error::BudgetExceeded { retry_after }),
    };
    let (Some(id), Some(created_at)) = (row.message_id, row.message_at) else {
        return Err(Error::internal("send_session_message returned no message"));
    };
    Ok(Sent {
        id,
        bot_id: row.bot_id.unwrap_or_default(),
        created_at,
        is_new,
    })
}

/// Deletes idempotency keys that are older than a day; returns how many.
pub async fn sweep_idempotency_keys(db: &Db) -> Result<i32> {
    let Some(mut tx) = db.sweep_transaction().await? else {
        return Ok(0);
    };
    let deleted = sqlx::query!(
        // By their place in the table, so that the plan reads these rows only, whatever the limit.
        "delete from biz.ai_idempotency_keys where ctid = any (array(
             select ctid from biz.ai_idempotency_keys
             where created_at < now() - make_interval(secs => $1)
             order by created_at limit $2 for update skip locked))",
        KEY_LIFETIME.as_secs_f64(),
        SWEEP_LIMIT,
    )
    .execute(&mut *tx)
    .with_statement_timeout()
    .await?;
    tx.commit().await?;
    Ok(db::swept(&deleted))
}
