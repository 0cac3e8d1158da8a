//! Stops a reply. The request is written to the database, because any instance may make the reply.

use super::State;
use crate::{
    governance::auth::Caller,
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Result},
    },
};

/// Result of a stop request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The reply will stop at its next checkpoint.
    Stopping,
    /// The reply had already ended.
    Ended(State),
}

/// Sets the stop flag of a reply of the caller. Idempotent.
pub(super) async fn stop(db: &Db, caller: &Caller, message_id: i64) -> Result<Stop> {
    let row = sqlx::query!(
        r#"
        with asked as (
            update biz.ai_messages set stop_requested_at = coalesce(stop_requested_at, now())
            where id = $2 and site_id = $1 and user_id = $3 and role = 'assistant' and state = 'streaming'
        )
        select user_id, reply_text(m) = '' as "silent!",
               case when state = 'streaming' and lease_until < clock_timestamp() then 'dead' else state end as "state!"
        from biz.ai_messages m
        where id = $2 and site_id = $1 and role = 'assistant'
        "#,
        caller.site_id,
        message_id,
        caller.user_id,
    )
    .fetch_optional(db)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    if row.user_id != caller.user_id {
        return Err(Error::NotOwner);
    }
    Ok(match &*row.state {
        "streaming" => Stop::Stopping,
        // The lease has expired: the function was killed. The sweep will store this state.
        "dead" if row.silent => Stop::Ended(State::Failed),
        "dead" => Stop::Ended(State::Interrupted),
        state => Stop::Ended(State::from_sql(state, "biz.ai_messages")?),
    })
}
