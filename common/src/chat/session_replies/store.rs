//! The two database round trips of a bot's reply: before and after its call.

use sqlx::types::Json;

use crate::{
    chat::session_or_history::{HISTORY, SessionOrHistory, turns},
    governance::{
        apps::{App, Application},
        budgets::TOKENS_PER_CHAR,
        runs::{Run, RunEnd},
    },
    insights::{
        apps::MAX_PROMPT_CHARS,
        jobs::{Job, JobContext, LEASE, StepError},
    },
    moderation::ExchangeVerdicts,
    platform::{
        db::{Db, StatementTimeout},
        error::Result,
        words::words,
    },
};

/// A reply with an open run.
pub(super) struct Prepared {
    pub user_id: i64,
    pub nickname: String,
    pub role: String,
    /// The message to reply to.
    pub content: String,
    /// The application of the bot.
    pub application: Application,
    /// The context of the message.
    pub before: SessionOrHistory,
    pub run: Run,
}

words! {
    enum Outcome {
        Running = "running",
        Lost = "lost",
        AgentGone = "agent_gone",
        BotDisabled = "bot_disabled",
        NotGranted = "not_granted",
        BotUnknown = "unknown",
        UserDisabled = "user_disabled",
        Deleted = "deleted",
        BudgetExceeded = "budget_exceeded",
        QuotaExceeded = "quota_exceeded",
        CircuitOpen = "circuit_open",
        RateLimited = "rate_limited",
        Busy = "busy",
    }
}

/// Admits and opens the run, and reads the message and its context.
pub(super) async fn begin(context: &JobContext, job: &Job) -> Result<Prepared, StepError> {
    let begun = async {
        let (mut connection, until) = context.db.acquire_in_time().await?;
        sqlx::query!(
            r#"
            select outcome as "outcome!", user_id, nickname, role, content, session_id,
                   application as "application: Json<Application>",
                   history_roles, history_texts, message_id, run_id, run_at,
                   reserved_tokens, retry_at
            from begin_session_reply($1, $2, $3, row($10, $11, 0, $4)::token_rule, $5,
                                     row($7, $8, $9)::history_limits, $6)
            "#,
            job.site_id,
            job.id,
            job.fence,
            context.limits.reserved_tokens,
            LEASE.as_secs_f64(),
            until,
            HISTORY.session_age.as_secs_f64(),
            HISTORY.session_rounds,
            HISTORY.turns,
            TOKENS_PER_CHAR,
            i64::try_from(MAX_PROMPT_CHARS).unwrap_or(i64::MAX),
        )
        .fetch_one(&mut *connection)
        .await
    };
    let row = begun
        .with_statement_timeout()
        .await
        .map_err(StepError::Unknown)?;
    let outcome = Outcome::from_sql(&row.outcome, "begin_session_reply")
        .map_err(|err| StepError::Permanent("internal", err.to_string()))?;
    match (outcome, row.retry_at) {
        (Outcome::Running, _) => {}
        (Outcome::Lost, _) => return Err(StepError::Lost),
        (Outcome::AgentGone, _) => return Err(refused(outcome, "the bot's agent was deleted")),
        (Outcome::BotDisabled, _) => return Err(refused(outcome, "the bot is disabled")),
        (Outcome::NotGranted | Outcome::BotUnknown, _) => {
            return Err(refused(Outcome::NotGranted, "the user may not use the bot"));
        }
        (Outcome::Deleted, _) => return Err(refused(outcome, "the conversation was deleted")),
        (Outcome::UserDisabled, _) => return Err(refused(outcome, "the user is disabled")),
        (
            Outcome::BudgetExceeded
            | Outcome::QuotaExceeded
            | Outcome::CircuitOpen
            | Outcome::RateLimited
            | Outcome::Busy,
            Some(at),
        ) => {
            return Err(StepError::NotBefore(at, outcome.name()));
        }
        (_, None) => return Err(left_out()),
    }
    let (Some(id), Some(created_at), Some(reserved_tokens), Some(Json(application))) =
        (row.run_id, row.run_at, row.reserved_tokens, row.application)
    else {
        return Err(left_out());
    };
    let (Some(user_id), Some(message_id)) = (row.user_id, row.message_id) else {
        return Err(left_out());
    };
    Ok(Prepared {
        user_id,
        nickname: row.nickname.unwrap_or_default(),
        role: row.role.unwrap_or_default(),
        content: row.content.unwrap_or_default(),
        before: SessionOrHistory::new(
            job.site_id,
            message_id,
            row.session_id,
            turns(row.history_roles, row.history_texts),
            &application,
        ),
        application,
        run: Run {
            id,
            created_at,
            reserved_tokens,
        },
    })
}

fn refused(outcome: Outcome, message: &str) -> StepError {
    StepError::Permanent(outcome.name(), message.to_owned())
}

fn left_out() -> StepError {
    let message = format!(
        "begin_session_reply returned no run of {}",
        App::Chat.name()
    );
    StepError::Permanent("internal", message)
}

/// Settles the run. If it succeeded, also stores the reply and ends the job. Idempotent.
///
/// Returns the change of the circuit: `opened`, `closed` or nothing.
pub(super) async fn finish(
    db: &Db,
    job: &Job,
    run: Run,
    end: &RunEnd,
    verdicts: Option<&ExchangeVerdicts>,
) -> Result<Option<String>> {
    sqlx::query_scalar!(
        "select circuit from finish_session_reply($1, $2, $3, $4, $5, $6, $7)",
        job.site_id,
        job.id,
        job.fence,
        run.id,
        run.created_at,
        Json(end) as _,
        verdicts.map(Json) as _,
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await
}

/// Ends the job with the message of `no_reply`. Returns false if another worker has the job.
pub(super) async fn give_up(
    db: &Db,
    job: &Job,
    code: &str,
    message: &str,
    verdicts: Option<&ExchangeVerdicts>,
) -> Result<bool> {
    sqlx::query_scalar!(
        r#"
        select end_session_reply(
            $1, $2, $3, 'failed', no_reply(), null, null, false, $4, $5, null, $6) as "ended!"
        "#,
        job.site_id,
        job.id,
        job.fence,
        code,
        message,
        verdicts.map(Json) as _,
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await
}
