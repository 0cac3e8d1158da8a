//! Marks the replies of a session as read.

use uuid::Uuid;

use super::owned_bot;
use crate::{
    governance::auth::Caller,
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Result},
    },
};

/// Marks the current replies of the bot as read. Later replies stay unread. Returns the number of
/// replies that were unread.
///
/// # Errors
/// The errors of [`super::find`].
pub async fn mark_read(db: &Db, caller: &Caller, id: Uuid) -> Result<i64> {
    let row = sqlx::query!(
        r#"
        with found as (
            select c.id, c.user_id, c.bot_id, c.unread_count from biz.ai_conversations c
            where c.public_id = $2 and c.site_id = $1 for no key update
        ), marked as (
            update biz.ai_conversations c set read_seq = c.message_count, unread_count = 0
            from found f where c.id = f.id and f.user_id = $3 and f.bot_id is not null
        )
        select user_id, bot_id, unread_count from found
        "#,
        caller.site_id,
        id,
        caller.user_id,
    )
    .fetch_optional(db)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    owned_bot(caller, row.user_id, row.bot_id)?;
    Ok(row.unread_count)
}
