//! Sends a message to a bot. A job makes the reply.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use uuid::Uuid;

use crate::{
    chat::messages::{Content, SendLimits},
    governance::{auth::Caller, budgets::TOKENS_PER_CHAR},
    insights::apps::MAX_PROMPT_CHARS,
    moderation::Moderation,
    platform::{
        db::{self, Db, SWEEP_LIMIT, StatementTimeout},
        error::{Error, ExceededQuota, Reason, Result},
        words::words,
    },
};

/// Length limit of an idempotency key, in characters.
const MAX_KEY: usize = 64;

/// How long an idempotency key is valid.
const KEY_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The header `Idempotency-Key`. A second request with the same key within a day is a repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Accepts 1 to 64 printable ASCII characters.
    ///
    /// # Errors
    /// [`Error::Invalid`] for any other key.
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

    /// The key as the client sent it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

words! {
    /// Format of a message, as in the API and the column `content_type`.
    pub enum ContentType {
        /// Markdown, the default.
        Markdown = "markdown",
        /// Plain text.
        Text = "text",
    }
}

/// A message to a bot.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct NewSessionMessage {
    pub content: Content,
    pub content_type: ContentType,
    /// The message to which this one responds.
    pub reply_to: Option<i64>,
    /// Identifies a repeat of the same message.
    pub key: Option<IdempotencyKey>,
}

/// The stored message.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct Sent {
    pub id: i64,
    /// The bot that will reply.
    pub bot_id: Uuid,
    pub created_at: DateTime<Utc>,
    /// True if this request stored the message and queued its reply. False for a repeat.
    pub is_new: bool,
}

words! {
    /// Result of `send_session_message`.
    enum Outcome {
        Sent = "sent",
        Repeat = "repeat",
        NotFound = "not_found",
        NotOwner = "not_owner",
        NotABot = "not_a_bot",
        Closed = "closed",
        Paused = "paused",
        BotDisabled = "bot_disabled",
        NotGranted = "not_granted",
        BotUnknown = "unknown",
        ReplyTo = "reply_to",
        KeyReused = "key_reused",
        RateLimited = "rate_limited",
        BudgetExceeded = "budget_exceeded",
        QuotaExceeded = "quota_exceeded",
    }
}

/// Checks a message by the moderation words, then stores it and queues its reply, in one statement.
///
/// The errors of [`super::find`]. [`Error::Invalid`] also if the session is paused or closed, or if
/// `reply_to` is not in this session. [`Error::KeyReused`] for a different message with the same
/// key. [`Error::ContentBlocked`], [`Error::RateLimited`], [`Error::BudgetExceeded`] and
/// [`Error::QuotaExceeded`].
pub async fn send(
    db: &Db,
    caller: &Caller,
    id: Uuid,
    message: &NewSessionMessage,
    limits: SendLimits,
    moderation: &Moderation,
) -> Result<Sent> {
    let content = message.content.as_str();
    moderation.check_words(caller.site_id, content).await?;
    let stored = async {
        let (mut connection, until) = db.acquire_in_time().await?;
        sqlx::query!(
            r#"
            select s.outcome as "outcome!", s.message_id, s.message_at, s.retry_after, s.quota as "quota: Json<ExceededQuota>", c.bot_id as "bot_id?"
            from send_session_message($1, $2, $3, $4, $5, $6, $7, $8, $9,
                                      row($12, $13, 0, $10)::token_rule, $11) s
            left join biz.ai_conversations c on c.id = s.conversation_id and c.site_id = $1
            "#,
            caller.site_id,
            caller.user_id,
            id,
            content,
            message.content_type.name(),
            message.reply_to,
            message.key.as_ref().map(IdempotencyKey::as_str),
            KEY_LIFETIME.as_secs_f64(),
            limits.rate_per_minute,
            limits.reserved_tokens,
            until,
            TOKENS_PER_CHAR,
            i64::try_from(MAX_PROMPT_CHARS).unwrap_or(i64::MAX),
        )
        .fetch_one(&mut *connection)
        .await
    };
    let row = stored.with_statement_timeout().await?;
    let retry_after = row.retry_after.unwrap_or(1);
    let is_new = match Outcome::from_sql(&row.outcome, "send_session_message")? {
        Outcome::Sent => true,
        Outcome::Repeat => false,
        Outcome::NotFound => return Err(Error::NotFound),
        Outcome::NotOwner => return Err(Error::NotOwner),
        Outcome::NotABot => return Err(Error::invalid("id", Reason::NotABot)),
        Outcome::Closed => return Err(Error::invalid("id", Reason::Closed)),
        Outcome::Paused => return Err(Error::invalid("id", Reason::Paused)),
        Outcome::BotDisabled => return Err(Error::Conflict("The bot is disabled")),
        Outcome::NotGranted | Outcome::BotUnknown => return Err(Error::NotGranted),
        Outcome::ReplyTo => return Err(Error::invalid("reply_to", Reason::NotOfThisSession)),
        Outcome::KeyReused => return Err(Error::KeyReused),
        Outcome::RateLimited => return Err(Error::RateLimited { retry_after }),
        Outcome::BudgetExceeded => return Err(Error::BudgetExceeded { retry_after }),
        Outcome::QuotaExceeded => return Err(Error::quota_exceeded(retry_after, row.quota)),
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

/// Deletes a limited number of idempotency keys older than a day. Returns the number.
pub async fn sweep_idempotency_keys(db: &Db) -> Result<i32> {
    let Some(mut tx) = db.sweep_transaction().await? else {
        return Ok(0);
    };
    let deleted = sqlx::query!(
        // Selected by `ctid`, so that the plan reads only these rows at any limit.
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
