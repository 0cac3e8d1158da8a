//! Starts a session.

use sqlx::PgConnection;
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
    let bot = find_bot(&mut tx, caller, bot_id).await?;
    let agent_id = bot.usable_agent("bot_id")?;
    let title = title.map_or_else(
        || format!("Chat with {}", bot.name),
        |title| title.as_str().to_owned(),
    );
    let created = insert(&mut tx, caller, bot_id, agent_id, "api", Some(&title)).await?;
    tx.commit().await?;
    find(db, caller, created.public_id).await
}

/// Returns the caller's newest active conversation with a bot, or a new one. Its title is the
/// beginning of its first message. Simultaneous calls get the same conversation.
///
/// # Errors
/// As [`create`].
pub async fn open(db: &Db, caller: &Caller, bot_id: Uuid) -> Result<i64> {
    let mut tx = db.transaction().await?;
    let bot = find_bot(&mut tx, caller, bot_id).await?;
    let agent_id = bot.usable_agent("contextId")?;
    // As in open_conversation: the lock keeps simultaneous calls from creating two.
    sqlx::query!(
        "select pg_advisory_xact_lock(hashtextextended(format('conversation/%s/%s/bot/%s', $1::bigint, $2::bigint, $3::uuid), 0))",
        caller.site_id,
        caller.user_id,
        bot_id,
    )
    .execute(&mut *tx)
    .with_statement_timeout()
    .await?;
    let current = sqlx::query_scalar!(
        "select id from biz.ai_conversations
         where site_id = $1 and user_id = $2 and context_type = 'bot' and context_id = $3::uuid::text and status = 'active'
         order by last_active_at desc limit 1",
        caller.site_id,
        caller.user_id,
        bot_id,
    )
    .fetch_optional(&mut *tx)
    .with_statement_timeout()
    .await?;
    let id = if let Some(id) = current {
        id
    } else {
        let created = insert(&mut tx, caller, bot_id, agent_id, "miniprogram", None).await?;
        created.id
    };
    tx.commit().await?;
    Ok(id)
}

async fn find_bot(tx: &mut PgConnection, caller: &Caller, bot_id: Uuid) -> Result<UsedBot> {
    sqlx::query_as!(
        UsedBot,
        r#"
        select bot_access(b, $1, $2) as "access!", coalesce(b.display_name, b.name) as "name!", b.agent_id,
               exists (select from biz.agents a where a.id = b.agent_id and a.deleted_at is null and a.app_id is not null) as "has_agent!"
        from biz.bots b where b.id = $3
        "#,
        caller.site_id,
        caller.user_id,
        bot_id,
    )
    .fetch_optional(tx)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)
}

/// The two ids of a new conversation.
struct Created {
    id: i64,
    public_id: Uuid,
}

async fn insert(
    tx: &mut PgConnection,
    caller: &Caller,
    bot_id: Uuid,
    agent_id: Uuid,
    channel: &str,
    title: Option<&str>,
) -> Result<Created> {
    let created = sqlx::query_as!(
        Created,
        "insert into biz.ai_conversations (site_id, user_id, context_type, context_id, channel_type, title, bot_id, agent_id, last_active_at)
         values ($1, $2, 'bot', $3::uuid::text, $6, $4, $3, $5, clock_timestamp())
         returning id, public_id",
        caller.site_id,
        caller.user_id,
        bot_id,
        title,
        agent_id,
        channel,
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
    .execute(tx)
    .with_statement_timeout()
    .await?;
    Ok(created)
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
    /// `field` is the name of the bot's id in the request.
    fn usable_agent(&self, field: &'static str) -> Result<Uuid> {
        match &*self.access {
            "unknown" => return Err(Error::NotFound),
            "bot_disabled" | "not_granted" => return Err(Error::Forbidden),
            _ => {}
        }
        let agent_id = self
            .agent_id
            .ok_or(Error::invalid(field, Reason::NoAgent))?;
        if self.has_agent {
            Ok(agent_id)
        } else {
            Err(Error::NotFound)
        }
    }
}
