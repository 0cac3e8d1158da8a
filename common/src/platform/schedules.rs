//! Schedules of servers. Several instances share one database, and one of them makes each run.

use chrono::{DateTime, Utc};
use sqlx::{Postgres, pool::PoolConnection};

use super::{
    db::{Db, StatementTimeout},
    error::Result,
};

/// The right to make one run of a schedule.
///
/// It holds an advisory lock on its own connection. Without [`Turn::finish`], the connection is
/// closed and the run is still due.
pub struct Turn {
    connection: PoolConnection<Postgres>,
    name: &'static str,
    due_at: DateTime<Utc>,
}

/// Takes the turn of a schedule, if a run is due and no other instance makes it. `due_at` is the
/// last time at which it is due; `None` means at each minute.
///
/// A schedule that the database does not know yet is not due before its next time. Otherwise a new
/// database would start with a prewarm at any time of the day.
///
/// # Errors
/// The database is not reachable.
pub async fn take_turn(
    db: &Db,
    name: &'static str,
    due_at: Option<DateTime<Utc>>,
) -> Result<Option<Turn>> {
    let mut connection = db.acquire().await?;
    let taken = sqlx::query_scalar!("select take_turn($1, $2)", name, due_at)
        .fetch_one(&mut *connection)
        .with_statement_timeout()
        .await;
    // After a timeout, the session may have the lock. The pool must not keep it.
    if !matches!(taken, Ok(None)) {
        connection.close_on_drop();
    }
    Ok(taken?.map(|due_at| Turn {
        connection,
        name,
        due_at,
    }))
}

impl Turn {
    /// Time at which the run was due.
    pub fn due_at(&self) -> DateTime<Utc> {
        self.due_at
    }

    /// Records that the run was made.
    ///
    /// # Errors
    /// The database is not reachable. Another instance makes the run again.
    pub async fn finish(mut self) -> Result<()> {
        sqlx::query!(
            "insert into biz.schedule_runs (name, due_at) values ($1, $2)
             on conflict on constraint schedule_runs_pkey do update
             set due_at = excluded.due_at, finished_at = clock_timestamp()",
            self.name,
            self.due_at,
        )
        .execute(&mut *self.connection)
        .with_statement_timeout()
        .await?;
        Ok(())
    }
}
