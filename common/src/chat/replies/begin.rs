//! The one round trip before DashScope is asked.

use chrono::{DateTime, Utc};
use sqlx::types::Json;

use super::LEASE;
use crate::{
    chat::{
        messages::{ClientMessageId, Content},
        replies::ChatLimits,
    },
    governance::{apps::App, auth::Caller},
    insights::{apps::app1_chat::Turn, pages::PageRequest},
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Reason, Result},
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
    pub run_id: i64,
    pub run_at: DateTime<Utc>,
    pub session_id: Option<String>,
    pub history: Vec<Turn>,
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
               session_id, history as "history: Json<Vec<Turn>>", agent_app_id, retry_after
        from biz.begin_reply($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
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
        )
        .fetch_one(&mut *connection)
        .await
    };
    let row = begun.with_statement_timeout().await?;

    let retry_after = row.retry_after.unwrap_or(1);
    match &*row.outcome {
        "begun" | "repeat" => {}
        "not_found" => return Err(Error::NotFound),
        "not_owner" => return Err(Error::NotOwner),
        "content_differs" => return Err(Error::invalid("clientMessageId", Reason::ContentDiffers)),
        "closed" => return Err(Error::Conflict("conversation is not active")),
        "busy" => {
            return Err(Error::Busy {
                message_id: row.message_id,
            });
        }
        "agent_gone" => return Err(Error::Conflict("the bot's agent is gone")),
        "rate_limited" => return Err(Error::RateLimited { retry_after }),
        "budget_exceeded" => return Err(Error::BudgetExceeded { retry_after }),
        "circuit_open" => return Err(Error::CircuitOpen { retry_after }),
        _ => return Err(Error::internal("unknown outcome of biz.begin_reply")),
    }
    let (Some(user_message_id), Some(user_message_at), Some(message_id), Some(created_at)) = (
        row.user_message_id,
        row.user_message_at,
        row.message_id,
        row.message_at,
    ) else {
        return Err(Error::internal("biz.begin_reply left out a message"));
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
    let history = row.history.map(|history| history.0).unwrap_or_default();
    Ok(BeginOutcome::New(
        start,
        PreparedReply {
            message_id,
            run_id,
            run_at,
            session_id: row.session_id,
            history,
            agent_app_id: row.agent_app_id,
        },
    ))
}
