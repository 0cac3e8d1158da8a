//! The one round trip before DashScope is asked.

use chrono::{DateTime, Utc};

use super::LEASE;
use crate::{
    chat::{
        messages::{ClientMessageId, Content},
        replies::ChatLimits,
        session_or_history::{HISTORY, SessionOrHistory, turns},
    },
    governance::{apps::App, auth::Caller, runs::Run},
    insights::pages::PageRequest,
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Reason, Result},
        words::words,
    },
};

/// What a client sends.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// Where.
    pub conversation_id: i64,
    /// What.
    pub content: Content,
    /// Which, so that a repeat can be told.
    pub client_message_id: Option<ClientMessageId>,
    /// From where in the mini-program.
    pub page: Option<PageRequest>,
}

/// What the client is told first.
#[derive(Clone, Debug)]
pub struct Start {
    /// Where.
    pub conversation_id: i64,
    /// The message that is answered.
    pub user_message_id: i64,
    /// When it was stored.
    pub user_message_at: DateTime<Utc>,
    /// The reply: what can be resumed or stopped.
    pub message_id: i64,
    /// When it began.
    pub created_at: DateTime<Utc>,
}

/// What making a reply needs to know.
#[derive(Debug)]
pub(super) struct PreparedReply {
    pub message_id: i64,
    pub run: Run,
    /// What was said before.
    pub before: SessionOrHistory,
    /// Whom to ask instead of the chat's own application, where the conversation is with a bot.
    pub agent_app_id: Option<String>,
}

/// What came of a message.
#[derive(Debug)]
pub(super) enum BeginOutcome {
    /// It is stored, and its reply is the bearer's to make.
    New(Start, PreparedReply),
    /// It was stored before; somebody makes or made its reply.
    Repeat(Start),
}

words! {
    enum Outcome {
        Begun = "begun",
        Repeat = "repeat",
        NotFound = "not_found",
        NotOwner = "not_owner",
        ContentDiffers = "content_differs",
        Closed = "closed",
        Busy = "busy",
        AgentGone = "agent_gone",
        RateLimited = "rate_limited",
        BudgetExceeded = "budget_exceeded",
        CircuitOpen = "circuit_open",
    }
}

impl Outcome {
    /// The error that a refusal is for the client. `message_id` is the reply that is being made.
    fn refusal(self, message_id: Option<i64>, retry_after: i32) -> Result<()> {
        Err(match self {
            Self::Begun | Self::Repeat => return Ok(()),
            Self::NotFound => Error::NotFound,
            Self::NotOwner => Error::NotOwner,
            Self::ContentDiffers => Error::invalid("clientMessageId", Reason::ContentDiffers),
            Self::Closed => Error::Conflict("conversation is not active"),
            Self::Busy => Error::Busy { message_id },
            Self::AgentGone => Error::Conflict("the bot's agent is gone"),
            Self::RateLimited => Error::RateLimited { retry_after },
            Self::BudgetExceeded => Error::BudgetExceeded { retry_after },
            Self::CircuitOpen => Error::CircuitOpen { retry_after },
        })
    }
}

/// Checks, reserves and stores everything, or says which refusal applies.
///
/// # Errors
/// The refusal.
pub(super) async fn begin(
    db: &Db,
    caller: &Caller,
    message: &NewMessage,
    app: App,
    limits: ChatLimits,
) -> Result<BeginOutcome> {
    let begun = async {
        let (mut connection, patience) = db.acquire_patiently().await?;
        sqlx::query!(
            r#"
        select outcome as "outcome!", user_message_id, user_message_at, message_id, message_at, run_id, run_at,
               session_id, history_roles, history_texts, agent_app_id, retry_after
        from begin_reply($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, row($12, $13, $14)::history_limits, $11)
        "#,
            caller.site_id,
            caller.user_id,
            message.conversation_id,
            message.content.as_str(),
            message.client_message_id.as_ref().map(ClientMessageId::as_str),
            app.name(),
            limits.reserved_tokens,
            limits.rate_per_minute,
            limits.max_streams,
            LEASE.as_secs_f64(),
            patience,
            HISTORY.session_age.as_secs_f64(),
            HISTORY.session_rounds,
            HISTORY.turns,
        )
        .fetch_one(&mut *connection)
        .await
    };
    let row = begun.with_statement_timeout().await?;

    let outcome = Outcome::from_sql(&row.outcome, "begin_reply")?;
    outcome.refusal(row.message_id, row.retry_after.unwrap_or(1))?;
    let (Some(user_message_id), Some(user_message_at), Some(message_id), Some(created_at)) = (
        row.user_message_id,
        row.user_message_at,
        row.message_id,
        row.message_at,
    ) else {
        return Err(Error::internal("begin_reply left out a message"));
    };
    let start = Start {
        conversation_id: message.conversation_id,
        user_message_id,
        user_message_at,
        message_id,
        created_at,
    };
    let (Some(run_id), Some(run_at)) = (row.run_id, row.run_at) else {
        return Ok(BeginOutcome::Repeat(start));
    };
    Ok(BeginOutcome::New(
        start,
        PreparedReply {
            message_id,
            run: Run {
                id: run_id,
                created_at: run_at,
            },
            before: SessionOrHistory::new(
                caller.site_id,
                user_message_id,
                row.session_id,
                turns(row.history_roles, row.history_texts),
            ),
            agent_app_id: row.agent_app_id,
        },
    ))
}
