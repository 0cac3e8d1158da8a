//! Renaming a session, pausing it, closing it.

use uuid::Uuid;

use super::{Session, Status, Title, find, own};
use crate::{
    governance::auth::Caller,
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Result},
    },
};

/// What is to be changed of a session.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Its title.
    pub title: Option<Title>,
    /// Active or paused.
    pub status: Option<Status>,
}

/// Renames a session, pauses it or has it go on. What is as it was already leaves it as it was.
///
/// # Errors
/// As [`find`]; [`Error::Conflict`] where it is closed.
pub async fn change(db: &Db, caller: &Caller, id: Uuid, change: &Change) -> Result<Session> {
    let row = sqlx::query!(
        r#"
        with found as (
            select c.id, c.user_id, c.bot_id, c.status from biz.ai_conversations c
            where c.public_id = $2 and c.site_id = $1 for no key update
        ), changed as (
            update biz.ai_conversations c set
                title = coalesce($4, c.title), status = coalesce($5, c.status), updated_at = clock_timestamp()
            from found f where c.id = f.id and f.user_id = $3 and f.bot_id is not null and f.status <> 'closed'
              and (coalesce($4, c.title), coalesce($5, c.status)) is distinct from (c.title, c.status)
        )
        select user_id, bot_id, status from found
        "#,
        caller.site_id,
        id,
        caller.user_id,
        change.title.as_ref().map(Title::as_str),
        change.status.map(Status::name),
    )
    .fetch_optional(db)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    own(caller, row.user_id, row.bot_id)?;
    if row.status == Status::Closed.name() {
        return Err(Error::Conflict("Session is closed"));
    }
    find(db, caller, id).await
}

/// Closes a session for good. A reply that is just being made is kept. Closing twice is closing.
///
/// # Errors
/// As [`find`].
pub async fn close(db: &Db, caller: &Caller, id: Uuid) -> Result<()> {
    let row = sqlx::query!(
        r#"
        with found as (
            select c.id, c.user_id, c.bot_id from biz.ai_conversations c
            where c.public_id = $2 and c.site_id = $1 for no key update
        ), closed as (
            update biz.ai_conversations c set status = 'closed', updated_at = clock_timestamp()
            from found f where c.id = f.id and f.user_id = $3 and f.bot_id is not null and c.status <> 'closed'
        )
        select user_id, bot_id from found
        "#,
        caller.site_id,
        id,
        caller.user_id,
    )
    .fetch_optional(db)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    own(caller, row.user_id, row.bot_id).map(drop)
}
