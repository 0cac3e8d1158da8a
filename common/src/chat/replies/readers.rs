//! Readers: requests that read a reply from the database while it is made, on any instance. Each
//! holds a function instance until the reply ends, so they are limited per user.

use std::time::Duration;

use crate::{
    governance::auth::Caller,
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Result},
        words::words,
    },
};

/// Readers of a user at a time.
const MOST: i32 = 5;
/// Readers of one reply at a time.
const MOST_OF_REPLY: i32 = 3;
/// The lease of a reader, counted from its last read. Reads are at most 2 s apart.
pub(super) const READER_LEASE: Duration = Duration::from_secs(10);

words! {
    enum Outcome {
        Opened = "opened",
        RateLimited = "rate_limited",
    }
}

/// Counts a reader of a reply that is being made, and returns its id. A reader above the limits
/// replaces the oldest one.
///
/// # Errors
/// [`Error::RateLimited`] if too many replaced readers have not ended yet.
pub(super) async fn open(db: &Db, caller: &Caller, message_id: i64) -> Result<i64> {
    let row = sqlx::query!(
        r#"select outcome as "outcome!", reader_id from open_reader($1, $2, $3, $4, $5, $6)"#,
        caller.site_id,
        caller.user_id,
        message_id,
        MOST,
        MOST_OF_REPLY,
        READER_LEASE.as_secs_f64(),
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await?;
    match Outcome::from_sql(&row.outcome, "open_reader")? {
        Outcome::Opened => row
            .reader_id
            .ok_or(Error::internal("open_reader returned no reader")),
        Outcome::RateLimited => Err(Error::RateLimited { retry_after: 2 }),
    }
}
