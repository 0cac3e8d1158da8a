//! Changes a session: title, pause, close.

use uuid::Uuid;

use super::{Session, Status, Title, find, owned_bot};
use crate::{
    governance::auth::Caller,
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Result},
    },
};

/// Changes of a session. `None` keeps the value.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "plain data")]
pub struct Change {
    pub title: Option<Title>,
    /// `active` or `paused`.
    pub status: Option<Status>,
}

/// Changes the title or the status of a session. If nothing differs, the row is not written.
///
/// # Errors
/// The errors of [`find`]. [`Error::Conflict`] if the session is closed.
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
    owned_bot(caller, row.user_id, row.bot_id)?;
    if row.status == Status::Closed.name() {
        return Err(Error::Conflict("Session is closed"));
    }
    find(db, caller, id).await
}

/// Closes a session permanently. A reply in progress is kept. Idempotent.
///
/// # Errors
/// The errors of [`find`].
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
    owned_bot(caller, row.user_id, row.bot_id).map(drop)
}
