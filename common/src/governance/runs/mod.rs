//! Runs: one row for each call of an app.
//!
//! Here those of the background are opened before their call and settled after it; those of replies are opened and settled
//! with their messages (`replies`). Admins list them all (`list`), look at one (`details`), or take them away (`export`).

mod details;
mod export;
mod list;
mod partitions;

use chrono::{DateTime, Utc};

pub use details::{Details, find};
pub use export::{MAX_DAYS, export};
pub use list::{Entry, RunFilters, RunQuery, STATUSES, TRIGGERS, list};
pub use partitions::{Retention, drop_partitions, make_partitions};

use crate::{
    dashscope,
    governance::apps::App,
    insights::{apps::Checked, results},
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Result},
    },
};

/// Under which claim a job asks: whoever has lost it may not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    /// Tenant.
    pub site_id: i64,
    /// The job.
    pub job_id: i64,
    /// Counted up by each claim.
    pub fence: i32,
}

/// What is asked.
#[derive(Debug)]
pub(crate) struct NewRun<'a> {
    pub app: App,
    pub member_id: Option<i64>,
    pub prompt: &'a str,
    /// Tokens held against the budget until it ends.
    pub reserved_tokens: i64,
    /// Seconds for which the job is leased from now.
    pub lease: f64,
}

/// A run that is open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub id: i64,
    pub created_at: DateTime<Utc>,
}

/// Whether an app may be asked.
#[derive(Debug)]
pub(crate) enum Begun {
    /// It may; the tokens are reserved.
    Run(Run),
    /// Not before then: `budget_exceeded` or `circuit_open`, which is logged.
    NotBefore(DateTime<Utc>, &'static str),
    /// The job is no longer the caller's.
    Lost,
}

/// What the budget is charged with: what was used or, where nobody knows that and it may have cost, what was reserved.
pub(crate) fn charged(usage: Option<dashscope::Usage>, charge_unknown: bool, reserved: i64) -> i64 {
    let unknown = if charge_unknown { reserved } else { 0 };
    usage.map_or(unknown, |usage| usage.total())
}

/// The round trip before a call: fence, budget, circuit, reservation, log.
pub(crate) async fn begin(db: &Db, claim: Claim, run: &NewRun<'_>) -> Result<Begun> {
    let begun = async {
        let (mut connection, patience) = db.acquire_patiently().await?;
        sqlx::query!(
            r#"
        select outcome as "outcome!", run_id, run_at, retry_at
        from biz.begin_job_run($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        "#,
            claim.site_id,
            claim.job_id,
            claim.fence,
            run.app.name(),
            run.member_id,
            run.reserved_tokens,
            run.prompt,
            run.app.prompt_version(),
            run.lease,
            patience,
        )
        .fetch_one(&mut *connection)
        .await
    };
    let row = begun.with_statement_timeout().await?;
    Ok(
        match (&*row.outcome, row.run_id, row.run_at, row.retry_at) {
            ("running", Some(id), Some(created_at), _) => Begun::Run(Run { id, created_at }),
            ("budget_exceeded", .., Some(at)) => Begun::NotBefore(at, "budget_exceeded"),
            ("circuit_open", .., Some(at)) => Begun::NotBefore(at, "circuit_open"),
            ("lost", ..) => Begun::Lost,
            _ => return Err(Error::internal("unknown outcome of biz.begin_job_run")),
        },
    )
}

/// How a call ended, and what the run, the budget and the circuit are told of it.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    pub status: &'static str,
    pub response: Option<String>,
    pub usage: Option<dashscope::Usage>,
    /// Whether a call whose tokens are unknown is charged with its reservation.
    pub charge_unknown: bool,
    pub session_id: Option<String>,
    pub latency_ms: i64,
    pub attempts: u32,
    pub request_id: Option<String>,
    pub error: Option<(&'static str, String)>,
    /// `success`, `failure` or `neither`.
    pub circuit: &'static str,
}

impl Ended {
    /// A call that brought an answer, whatever it is worth.
    pub fn answered(answer: &dashscope::Answer) -> Self {
        Self {
            status: "success",
            response: Some(answer.text.replace('\0', "")),
            usage: answer.usage,
            charge_unknown: true,
            session_id: answer.session_id.clone(),
            attempts: answer.attempts,
            request_id: answer.request_id.clone(),
            circuit: "success",
            ..Self::default()
        }
    }

    /// What the budget is charged with, of a run that held so many tokens.
    pub fn charged(&self, reserved: i64) -> i64 {
        charged(self.usage, self.charge_unknown, reserved)
    }

    /// A call that was broken off, for nobody wants its answer any more.
    pub fn given_up() -> Self {
        Self {
            status: "failed",
            charge_unknown: true,
            attempts: 1,
            error: Some((
                "interrupted",
                "the job was lost while the app was asked".to_owned(),
            )),
            circuit: "neither",
            ..Self::default()
        }
    }

    /// A call that brought none.
    pub fn failed(err: &dashscope::Error) -> Self {
        let details = err.details();
        let (status, code) = match err {
            dashscope::Error::Timeout { .. } => ("timeout", "upstream_timeout"),
            err if err.is_retryable() => ("failed", "upstream_error"),
            _ => ("failed", "upstream_refused"),
        };
        Self {
            status,
            usage: details.usage,
            charge_unknown: err.may_have_cost(),
            attempts: details.attempts,
            request_id: details.request_id.clone(),
            error: Some((code, err.to_string())),
            // Nobody but the service ends a call of a job in time, or does not.
            circuit: if err.counts_for_circuit() || status == "timeout" {
                "failure"
            } else {
                "neither"
            },
            ..Self::default()
        }
    }
}

/// The round trip after a call: run, budget and circuit are settled whatever became of the job; `kept` goes to
/// the cache if job and entry are still the caller's. Safe to repeat.
///
/// Answers what that did to the circuit: `opened`, `closed` or nothing.
pub(crate) async fn finish(
    db: &Db,
    claim: Claim,
    run: Run,
    ended: &Ended,
    lease: results::Lease,
    kept: Option<&Checked>,
) -> Result<Option<String>> {
    let error = ended.error.as_ref();
    let circuit = sqlx::query_scalar!(
        r#"
        select circuit
        from biz.finish_job_run($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)
        "#,
        claim.site_id,
        claim.job_id,
        claim.fence,
        lease.entry_id,
        lease.generation,
        run.id,
        run.created_at,
        ended.status,
        ended.response,
        ended.usage.map(|usage| usage.input_tokens),
        ended.usage.map(|usage| usage.output_tokens),
        ended.charge_unknown,
        ended.session_id,
        ended.latency_ms,
        i32::try_from(ended.attempts).unwrap_or(i32::MAX),
        ended.request_id,
        error.map(|error| error.0),
        error.map(|error| &*error.1),
        ended.circuit,
        kept.map(|kept| &kept.json),
        kept.and_then(|kept| kept.score),
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await?;
    Ok(circuit)
}
