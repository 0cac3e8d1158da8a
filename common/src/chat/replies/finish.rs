//! The one round trip that ends a reply.

use sqlx::types::Json;

use super::State;
use crate::{
    governance::runs::{Run, RunEnd},
    platform::{
        db::{Db, StatementTimeout},
        error::Result,
    },
};

/// What is stored of a reply when it ends.
#[derive(Debug)]
pub(super) struct ReplyEnd {
    pub state: State,
    /// Characters of the text that a checkpoint has stored.
    pub saved: usize,
    /// The text that follows them.
    pub unsaved: String,
    pub run: RunEnd,
}

/// How the reply stands in the database.
#[derive(Debug)]
pub(super) struct Finished {
    /// False when somebody had ended it before.
    pub applied: bool,
    pub state: State,
    /// `opened` or `closed`, where this end did that to the circuit.
    pub circuit: Option<String>,
}

/// Ends a reply: text, state, conversation, run, circuit and usage, in one statement. Safe to repeat:
/// the second time finds it ended.
pub(super) async fn finish(
    db: &Db,
    site_id: i64,
    message_id: i64,
    run: Run,
    end: &ReplyEnd,
) -> Result<Finished> {
    let row = sqlx::query!(
        r#"
        select applied as "applied!", state as "state!", circuit
        from finish_reply($1, $2, $3, $4, $5, $6, $7, $8)
        "#,
        site_id,
        message_id,
        run.id,
        run.created_at,
        end.state.name(),
        i32::try_from(end.saved).unwrap_or(i32::MAX),
        end.unsaved,
        Json(&end.run) as _,
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await?;
    Ok(Finished {
        applied: row.applied,
        state: State::from_sql(&row.state, "finish_reply")?,
        circuit: row.circuit,
    })
}
