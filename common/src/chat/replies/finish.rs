//! Ends a reply: the one database round trip after the DashScope call.

use sqlx::types::Json;

use super::{FinishReason, State};
use crate::{
    governance::runs::{Run, RunEnd},
    insights::insight::ReferenceCard,
    moderation::ExchangeVerdicts,
    platform::{
        db::{Db, StatementTimeout},
        error::Result,
    },
};

/// The final state of a reply and of its run.
#[derive(Debug)]
pub(super) struct ReplyEnd {
    pub state: State,
    /// Number of characters that checkpoints have stored.
    pub saved: usize,
    /// The text after these characters.
    pub unsaved: String,
    /// `None` if the reply did not end by itself.
    pub finish_reason: Option<FinishReason>,
    /// The insight that the prompt contained.
    pub card: Option<ReferenceCard>,
    /// What moderation says about the question and the reply.
    pub verdicts: Option<ExchangeVerdicts>,
    pub run: RunEnd,
}

/// The state of the reply after `finish_reply`.
#[derive(Debug)]
pub(super) struct Finished {
    /// False if another session had already ended the reply.
    pub applied: bool,
    pub state: State,
    /// `opened` or `closed`, if this call changed the circuit.
    pub circuit: Option<String>,
}

/// Ends a reply in one statement: text, state, conversation, run, circuit and usage. Idempotent: a
/// second call finds the reply ended and changes nothing.
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
        from finish_reply($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        "#,
        site_id,
        message_id,
        run.id,
        run.created_at,
        end.state.name(),
        i32::try_from(end.saved).unwrap_or(i32::MAX),
        end.unsaved,
        end.finish_reason.map(FinishReason::is_cut),
        end.card.as_ref().map(Json) as _,
        Json(&end.run) as _,
        end.verdicts.as_ref().map(Json) as _,
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
