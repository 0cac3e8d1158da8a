//! The checkpoints of a reply, and the one round trip that ends it.

use chrono::{DateTime, Utc};

use super::{LEASE, State};
use crate::platform::{
    db::{Db, StatementTimeout},
    error::Result,
};

/// What a checkpoint found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checkpoint {
    /// Stored.
    Saved,
    /// Stored; and the reader wants no more.
    StopRequested,
    /// The reply has been ended by somebody else: its lease had run out.
    Lost,
}

/// Stores the text so far: the first `saved` characters are there already, `unsaved`
/// follows them. Safe to repeat, since it says where the text goes, and safe to overtake: one
/// that was given up may still be on its way when a later one is stored.
pub(super) async fn checkpoint(
    db: &Db,
    site_id: i64,
    message_id: i64,
    saved: usize,
    unsaved: &str,
) -> Result<Checkpoint> {
    let stop = sqlx::query_scalar!(
        r#"
        update biz.ai_messages set
            -- The text only grows: a checkpoint that arrives late takes nothing back.
            content = case when $4 = '' or char_length(content) >= $3 + char_length($4) then content
                           else left(content, $3) || $4 end,
            lease_until = now() + make_interval(secs => $5)
        where id = $2 and site_id = $1 and state = 'streaming'
        returning stop_requested_at is not null as "stop!"
        "#,
        site_id,
        message_id,
        i32::try_from(saved).unwrap_or(i32::MAX),
        unsaved,
        LEASE.as_secs_f64(),
    )
    .fetch_optional(db)
    .with_statement_timeout()
    .await?;
    Ok(match stop {
        Some(false) => Checkpoint::Saved,
        Some(true) => Checkpoint::StopRequested,
        None => Checkpoint::Lost,
    })
}

/// Everything that is stored when a reply ends.
#[derive(Debug)]
pub(super) struct Finish {
    pub state: State,
    pub run_status: &'static str,
    pub saved: usize,
    pub unsaved: String,
    pub tokens: Option<(i64, i64)>,
    /// Whether a call whose tokens are unknown is charged with its reservation.
    pub charge_unknown: bool,
    pub session_id: Option<String>,
    pub session_lost: bool,
    pub prompt: Option<String>,
    pub prompt_version: &'static str,
    pub first_token_ms: Option<i64>,
    pub latency_ms: i64,
    pub attempts: i32,
    pub upstream_request_id: Option<String>,
    pub error_code: Option<&'static str>,
    pub error_message: Option<String>,
    /// `success`, `failure` or `neither`.
    pub circuit: &'static str,
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

/// Ends a reply: text, state, conversation, run, circuit and usage, in one statement.
/// Safe to repeat: the second time finds it ended.
pub(super) async fn finish(
    db: &Db,
    site_id: i64,
    message_id: i64,
    run: (i64, DateTime<Utc>),
    end: &Finish,
) -> Result<Finished> {
    let row = sqlx::query!(
        r#"
        select applied as "applied!", state as "state!", circuit
        from biz.finish_reply($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)
        "#,
        site_id,
        message_id,
        run.0,
        run.1,
        end.state.name(),
        end.run_status,
        i32::try_from(end.saved).unwrap_or(i32::MAX),
        end.unsaved,
        end.tokens.map(|(tokens_in, _)| tokens_in),
        end.tokens.map(|(_, tokens_out)| tokens_out),
        end.charge_unknown,
        end.session_id,
        end.session_lost,
        end.prompt,
        end.prompt_version,
        end.first_token_ms,
        end.latency_ms,
        end.attempts,
        end.upstream_request_id,
        end.error_code,
        end.error_message,
        end.circuit,
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await?;
    Ok(Finished {
        applied: row.applied,
        state: State::parse(&row.state)?,
        circuit: row.circuit,
    })
}
