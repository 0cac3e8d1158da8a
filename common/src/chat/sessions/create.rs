//! Beginning a session.

use uuid::Uuid;

use super::{Session, Title, find};
use crate::{
    governance::auth::Caller,
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Reason, Result},
    },
};

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
    match (&*row.outcome, row.session_id) {
        ("created", Some(id)) => find(db, caller, id).await,
        ("bot_unknown" | "agent_gone", _) => Err(Error::NotFound),
        ("bot_forbidden", _) => Err(Error::Forbidden),
        ("no_agent", _) => Err(Error::invalid("bot_id", Reason::NoAgent)),
        _ => Err(Error::internal("unknown outcome of create_session")),
    }
}
