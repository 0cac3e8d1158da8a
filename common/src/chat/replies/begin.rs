//! Starts a reply: the one database round trip before the DashScope call.

use chrono::{DateTime, Utc};
use sqlx::{Postgres, pool::PoolConnection, types::Json};

use super::{LEASE, State, page::expected_chars};
use crate::{
    chat::{
        messages::{ClientMessageId, Content},
        replies::ChatLimits,
        session_or_history::{HISTORY, SessionOrHistory, turns},
    },
    governance::{
        apps::{App, Application},
        auth::Caller,
        budgets::TOKENS_PER_CHAR,
        runs::Run,
    },
    insights::{apps::MAX_PROMPT_CHARS, pages::PageRequest},
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, ExceededQuota, Reason, Result},
        words::words,
    },
};

/// What a client asks.
#[derive(Clone, Debug)]
pub enum Asked {
    /// A new question.
    New(Content),
    /// A question that replaces the last one of the conversation, whose id follows.
    Edit(Content, i64),
    /// The last question of the conversation again.
    Again,
}

impl Asked {
    /// The text. `None` for the last question again, which the database has.
    pub(super) fn content(&self) -> Option<&str> {
        match self {
            Self::New(content) | Self::Edit(content, _) => Some(content.as_str()),
            Self::Again => None,
        }
    }

    const fn edits(&self) -> Option<i64> {
        match self {
            Self::Edit(_, message_id) => Some(*message_id),
            Self::New(_) | Self::Again => None,
        }
    }
}

/// A message that a client sends.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct NewMessage {
    pub conversation_id: i64,
    pub asked: Asked,
    /// Identifies a repeat of the same message.
    pub client_message_id: Option<ClientMessageId>,
    /// The page of the mini-program on which the question is asked.
    pub page: Option<PageRequest>,
}

/// The first event that the client receives.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct Start {
    pub conversation_id: i64,
    /// The message to which the reply responds.
    pub user_message_id: i64,
    pub user_message_at: DateTime<Utc>,
    /// The id of the reply. It can be resumed or stopped by this id.
    pub message_id: i64,
    /// Start of the reply.
    pub created_at: DateTime<Utc>,
    /// True for a repeat whose reply has ended.
    pub is_ended: bool,
}

/// Input of the task that makes the reply.
#[derive(Debug)]
pub(super) struct PreparedReply {
    pub message_id: i64,
    /// The question.
    pub content: String,
    pub run: Run,
    /// The context of the message.
    pub before: SessionOrHistory,
    /// The application of the chat, or that of the bot if the conversation is with a bot.
    pub application: Application,
}

/// Result of sending a message.
#[derive(Debug)]
pub(super) enum BeginOutcome {
    /// The message was stored. The caller must make the reply.
    New {
        start: Start,
        prepared: Box<PreparedReply>,
        /// The connection that was used. The pool tests it when it is dropped, so the caller drops
        /// it after the call to DashScope was sent.
        connection: PoolConnection<Postgres>,
    },
    /// The message was stored by an earlier request, which makes or made the reply.
    Repeat(Start),
}

words! {
    enum Outcome {
        Begun = "begun",
        Repeat = "repeat",
        NotFound = "not_found",
        NotOwner = "not_owner",
        ContentDiffers = "content_differs",
        EditsReply = "edits_reply",
        NotLast = "not_last",
        Closed = "closed",
        Busy = "busy",
        BotDisabled = "bot_disabled",
        NotGranted = "not_granted",
        BotUnknown = "unknown",
        AgentGone = "agent_gone",
        AppDisabled = "app_disabled",
        RateLimited = "rate_limited",
        BudgetExceeded = "budget_exceeded",
        QuotaExceeded = "quota_exceeded",
        CircuitOpen = "circuit_open",
    }
}

impl Outcome {
    /// The error for the client. `message_id` is the reply in progress, for `busy`.
    fn refusal(
        self,
        message_id: Option<i64>,
        retry_after: i32,
        quota: Option<Json<ExceededQuota>>,
    ) -> Result<()> {
        Err(match self {
            Self::Begun | Self::Repeat => return Ok(()),
            Self::NotFound => Error::NotFound,
            Self::NotOwner => Error::NotOwner,
            Self::ContentDiffers => Error::invalid("clientMessageId", Reason::ContentDiffers),
            Self::EditsReply => Error::invalid("edits", Reason::Unknown),
            Self::NotLast => Error::Conflict("only the last exchange can be replaced"),
            Self::Closed => Error::Conflict("conversation is not active"),
            Self::Busy => Error::Busy { message_id },
            Self::BotDisabled => Error::Conflict("the bot is disabled"),
            Self::NotGranted | Self::BotUnknown => Error::NotGranted,
            Self::AgentGone => Error::Conflict("the bot's agent was deleted"),
            Self::AppDisabled => Error::AppDisabled(App::Chat.disabled()),
            Self::RateLimited => Error::RateLimited { retry_after },
            Self::BudgetExceeded => Error::BudgetExceeded { retry_after },
            Self::QuotaExceeded => Error::quota_exceeded(retry_after, quota),
            Self::CircuitOpen => Error::CircuitOpen { retry_after },
        })
    }
}

/// Checks the limits, reserves tokens, and stores the message and an empty reply. `app_id` is the
/// chat's application in the environment.
///
/// # Errors
/// The refusal that applies. Then the message is not stored. A refusal by budget, quota or circuit
/// is logged as a run.
pub(super) async fn begin(
    db: &Db,
    caller: &Caller,
    message: &NewMessage,
    app_id: Option<&str>,
    limits: ChatLimits,
) -> Result<BeginOutcome> {
    let page_chars = message.page.as_ref().map_or(0, expected_chars);
    let page_chars = i64::try_from(page_chars).unwrap_or(i64::MAX);
    let begun = async {
        let (mut connection, until) = db.acquire_in_time().await?;
        let row = sqlx::query!(
            r#"
        select outcome as "outcome!", user_message_id, user_message_at, message_id, message_at, message_state, run_id, run_at,
               reserved_tokens, session_id, history_roles, history_texts, application as "application: Json<Application>", retry_after, content, quota as "quota: Json<ExceededQuota>"
        from begin_reply($1, $2, $3, row($4, $5, $18)::new_message, $6, row($15, $16, $17, $7)::token_rule, $8, $9, $10,
                         row($12, $13, $14)::history_limits, $11)
        "#,
            caller.site_id,
            caller.user_id,
            message.conversation_id,
            message.asked.content(),
            message.client_message_id.as_ref().map(ClientMessageId::as_str),
            app_id,
            limits.reserved_tokens,
            limits.rate_per_minute,
            limits.max_streams,
            LEASE.as_secs_f64(),
            until,
            HISTORY.session_age.as_secs_f64(),
            HISTORY.session_rounds,
            HISTORY.turns,
            TOKENS_PER_CHAR,
            i64::try_from(MAX_PROMPT_CHARS).unwrap_or(i64::MAX),
            page_chars,
            message.asked.edits(),
        )
        .fetch_one(&mut *connection)
        .await?;
        Ok((row, connection))
    };
    let (row, connection) = begun.with_statement_timeout().await?;

    let outcome = Outcome::from_sql(&row.outcome, "begin_reply")?;
    outcome.refusal(row.message_id, row.retry_after.unwrap_or(1), row.quota)?;
    let (Some(user_message_id), Some(user_message_at), Some(message_id), Some(created_at)) = (
        row.user_message_id,
        row.user_message_at,
        row.message_id,
        row.message_at,
    ) else {
        return Err(Error::internal("begin_reply returned no message"));
    };
    let start = Start {
        conversation_id: message.conversation_id,
        user_message_id,
        user_message_at,
        message_id,
        created_at,
        is_ended: row
            .message_state
            .is_some_and(|state| state != State::Streaming.name()),
    };
    let (Some(run_id), Some(run_at), Some(reserved_tokens), Some(Json(application))) =
        (row.run_id, row.run_at, row.reserved_tokens, row.application)
    else {
        return Ok(BeginOutcome::Repeat(start));
    };
    Ok(BeginOutcome::New {
        start,
        prepared: Box::new(PreparedReply {
            message_id,
            content: row.content.unwrap_or_default(),
            run: Run {
                id: run_id,
                created_at: run_at,
                reserved_tokens,
            },
            before: SessionOrHistory::new(
                caller.site_id,
                user_message_id,
                row.session_id,
                turns(row.history_roles, row.history_texts),
                &application,
            ),
            application,
        }),
        connection,
    })
}
