//! Beginning a session.

use uuid::Uuid;

use super::{Session, Title, find};
use crate::{
    governance::auth::Caller,
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Reason, Result},
        words::words,
    },
};

words! {
    /// What `create_session` returns.
    enum Outcome {
        Created = "created",
        BotUnknown = "bot_unknown",
        BotForbidden = "bot_forbidden",
        NoAgent = "no_agent",
        AgentGone = "agent_gone",
    }
}

/// Begins a session with a bot.
///
/// # Errors
/// [`Error::NotFound`] where there is no such bot for the caller's site, or its agent is gone;
/// [`Error::Forbidden`] where the caller may not use it, [`Error::Invalid`] where it has no agent.
pub async fn create(
    db: &Db,
    caller: &Caller,
    bot_id: Uuid,
    title: Option<&Title>,
) -> Result<Session> {
    let row = sqlx::query!(
        r#"
        select outcome as "outcome!", session_id from create_session($1, $2, $3, $4)
        "#,
        caller.site_id,
        caller.user_id,
        bot_id,
        title.map(Title::as_str),
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await?;
    match Outcome::from_sql(&row.outcome, "create_session")? {
        Outcome::Created => {
            let id = row.session_id;
            let id = id.ok_or(Error::internal("create_session returned no session"))?;
            find(db, caller, id).await
        }
        Outcome::BotUnknown | Outcome::AgentGone => Err(Error::NotFound),
        Outcome::BotForbidden => Err(Error::Forbidden),
        Outcome::NoAgent => Err(Error::invalid("bot_id", Reason::NoAgent)),
    }
}
