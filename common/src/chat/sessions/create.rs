//! Starts a session.

use uuid::Uuid;

use super::{Session, Title, find};
use crate::{
    chat::conversations::MAX_EMPTY,
    governance::auth::Caller,
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Reason, Result},
    },
};

/// Starts a session with a bot.
///
/// # Errors
/// [`Error::NotFound`] if the caller's site has no such bot, or if its agent was deleted.
/// [`Error::Forbidden`] if the caller may not use the bot. [`Error::Invalid`] if it has no agent.
pub async fn create(
    db: &Db,
    caller: &Caller,
    bot_id: Uuid,
    title: Option<&Title>,
) -> Result<Session> {
    let mut tx = db.transaction().await?;
    let bot = sqlx::query_as!(
        UsedBot,
        r#"
        select bot_access(b, $1, $2) as "access!", coalesce(b.display_name, b.name) as "name!", b.agent_id,
               exists (select from biz.agents a where a.id = b.agent_id and a.deleted_at is null) as "has_agent!"
        from biz.bots b where b.id = $3
        "#,
        caller.site_id,
        caller.user_id,
        bot_id,
    )
    .fetch_optional(&mut *tx)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    let agent_id = bot.usable_agent()?;
    let title = title.map_or_else(
        || format!("Chat with {}", bot.name),
        |title| title.as_str().to_owned(),
    );
    let id = sqlx::query_scalar!(
        "insert into biz.ai_conversations (site_id, user_id, context_type, context_id, channel_type, title, bot_id, agent_id, last_active_at)
         values ($1, $2, 'bot', $3::uuid::text, 'api', $4, $3, $5, clock_timestamp())
         returning public_id",
        caller.site_id,
        caller.user_id,
        bot_id,
        title,
        agent_id,
    )
    .fetch_one(&mut *tx)
    .with_statement_timeout()
    .await?;
    // The total of the user's list is a counter, so that the list does not count rows.
    sqlx::query!(
        "update biz.users set listed_sessions = listed_sessions + 1 where id = $2 and site_id = $1",
        caller.site_id,
        caller.user_id,
    )
    .execute(&mut *tx)
    .with_statement_timeout()
    .await?;
    sqlx::query!(
        "select remove_empty_conversations($1, $2, $3)",
        caller.site_id,
        caller.user_id,
        MAX_EMPTY,
    )
    .execute(&mut *tx)
    .with_statement_timeout()
    .await?;
    tx.commit().await?;
    find(db, caller, id).await
}

/// A bot, and whether the caller may start a session with it.
struct UsedBot {
    /// Result of `bot_access`.
    access: String,
    /// The display name.
    name: String,
    agent_id: Option<Uuid>,
    /// True if the agent exists and is not deleted.
    has_agent: bool,
}

impl UsedBot {
    fn usable_agent(&self) -> Result<Uuid> {
        match &*self.access {
            "unknown" => return Err(Error::NotFound),
            "bot_disabled" | "not_granted" => return Err(Error::Forbidden),
            _ => {}
        }
        let agent_id = self
            .agent_id
            .ok_or(Error::invalid("bot_id", Reason::NoAgent))?;
        if self.has_agent {
            Ok(agent_id)
        } else {
            Err(Error::NotFound)
        }
    }
}
