//! Renames, pins and deletes a conversation.

use super::Conversation;
use crate::{
    chat::titles::Title,
    governance::auth::Caller,
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Result},
        words::words,
    },
};

/// Changes of a conversation. `None` keeps the value.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "plain data")]
pub struct Change {
    pub title: Option<Title>,
    pub pinned: Option<bool>,
}

/// Changes the title of a conversation, pins it or unpins it. If nothing differs, the row is not
/// written.
///
/// # Errors
/// [`Error::NotFound`], also for a conversation of another site. [`Error::NotOwner`] for a
/// conversation of another user.
pub async fn change(db: &Db, caller: &Caller, id: i64, change: &Change) -> Result<Conversation> {
    let row = sqlx::query!(
        r#"
        with found as (
            select c.* from biz.ai_conversations c where c.id = $2 and c.site_id = $1 for no key update
        ), changed as (
            update biz.ai_conversations c set
                title = coalesce($4, f.title), pinned = coalesce($5, f.pinned), updated_at = clock_timestamp()
            from found f where c.id = f.id and f.user_id = $3
              and (coalesce($4, f.title), coalesce($5, f.pinned)) is distinct from (f.title, f.pinned)
        )
        select f.user_id, f.public_id, coalesce($4, f.title, '') as "title!", coalesce($5, f.pinned) as "pinned!",
               f.context_type, f.context_id, coalesce(f.last_message_preview, '') as "last_message!", f.last_message_at,
               f.message_count, f.unread_count, f.created_at
        from found f
        "#,
        caller.site_id,
        id,
        caller.user_id,
        change.title.as_ref().map(Title::as_str),
        change.pinned,
    )
    .fetch_optional(db)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    if row.user_id != caller.user_id {
        return Err(Error::NotOwner);
    }
    Ok(Conversation {
        id,
        public_id: row.public_id,
        title: row.title,
        pinned: row.pinned,
        context_type: row.context_type,
        context_id: row.context_id,
        last_message: row.last_message,
        last_message_at: row.last_message_at,
        message_count: row.message_count,
        unread_count: row.unread_count,
        created_at: row.created_at,
    })
}

words! {
    /// Result of `delete_conversation`.
    enum Outcome {
        Deleted = "deleted",
        NotFound = "not_found",
        NotOwner = "not_owner",
        Busy = "busy",
    }
}

/// Deletes a conversation with its messages, their feedback and its idempotency keys. Its runs stay
/// in the log for the figures, without prompt and answer.
///
/// # Errors
/// As [`change`]. [`Error::Busy`] while a reply is being made.
pub async fn delete(db: &Db, caller: &Caller, id: i64) -> Result<()> {
    delete_of(db, caller.site_id, caller.user_id, id).await
}

/// Deletes the oldest conversations of a user, at most `limit`. Those whose reply is being made
/// remain.
pub(in crate::chat) async fn delete_some(
    db: &Db,
    site_id: i64,
    user_id: i64,
    limit: i64,
) -> Result<()> {
    let ids = sqlx::query_scalar!(
        "select id from biz.ai_conversations where site_id = $1 and user_id = $2
         order by last_active_at limit $3",
        site_id,
        user_id,
        limit,
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await?;
    for id in ids {
        match delete_of(db, site_id, user_id, id).await {
            // The user may have deleted it at the same time.
            Ok(()) | Err(Error::Busy { .. } | Error::NotFound) => {}
            Err(err) => return Err(err),
        }
    }
    Ok(())
}

async fn delete_of(db: &Db, site_id: i64, user_id: i64, id: i64) -> Result<()> {
    let row = sqlx::query!(
        r#"select outcome as "outcome!", message_id from delete_conversation($1, $2, $3)"#,
        site_id,
        user_id,
        id,
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await?;
    match Outcome::from_sql(&row.outcome, "delete_conversation")? {
        Outcome::Deleted => Ok(()),
        Outcome::NotFound => Err(Error::NotFound),
        Outcome::NotOwner => Err(Error::NotOwner),
        Outcome::Busy => Err(Error::Busy {
            message_id: row.message_id,
        }),
    }
}
