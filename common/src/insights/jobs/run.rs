//! The run of a job's call: one round trip before the call and one after it.

use chrono::{DateTime, Utc};
use sqlx::types::Json;

use super::queue::Claim;
use crate::{
    governance::{
        apps::App,
        budgets::TOKENS_PER_CHAR,
        runs::{Run, RunEnd},
    },
    insights::{
        apps::{Checked, MAX_PROMPT_CHARS},
        results,
    },
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Result},
        words::words,
    },
};

/// Input of a new run.
#[derive(Debug)]
pub(super) struct NewRun<'a> {
    pub app: App,
    /// The DashScope application.
    pub app_id: &'a str,
    pub member_id: Option<i64>,
    pub prompt: &'a str,
    /// Tokens reserved besides those of the prompt, until the app has an average.
    pub reserved_tokens: i64,
    /// New lease of the job, in seconds from now.
    pub lease: f64,
}

/// Result of the admission of a run.
#[derive(Debug)]
pub(super) enum BeginRun {
    /// Admitted. The tokens are reserved.
    Run(Run),
    /// Refused until this time, because of `budget_exceeded` or `circuit_open`.
    NotBefore(DateTime<Utc>, &'static str),
    /// Another worker has the job.
    Lost,
}

words! {
    enum Outcome {
        Running = "running",
        BudgetExceeded = "budget_exceeded",
        CircuitOpen = "circuit_open",
        Lost = "lost",
    }
}

/// The round trip before a call: claim, budget, circuit, reservation, run log.
pub(super) async fn begin(db: &Db, claim: Claim, run: &NewRun<'_>) -> Result<BeginRun> {
    let begun = async {
        let (mut connection, until) = db.acquire_in_time().await?;
        sqlx::query!(
            r#"
            select outcome as "outcome!", run_id, run_at, reserved_tokens, retry_at
            from begin_job_run($1, $2, $3, $4, $5, $6, row($12, $13, 0, $7)::token_rule, $8, $9, $10, $11)
            "#,
            claim.site_id,
            claim.job_id,
            claim.fence,
            run.app.name(),
            run.app_id,
            run.member_id,
            run.reserved_tokens,
            run.prompt,
            run.app.prompt_version(),
            run.lease,
            until,
            TOKENS_PER_CHAR,
            i64::try_from(MAX_PROMPT_CHARS).unwrap_or(i64::MAX),
        )
        .fetch_one(&mut *connection)
        .await
    };
    let row = begun.with_statement_timeout().await?;
    let outcome = Outcome::from_sql(&row.outcome, "begin_job_run")?;
    let run = row.run_id.zip(row.run_at).zip(row.reserved_tokens);
    let run = run.map(|((id, created_at), reserved_tokens)| Run {
        id,
        created_at,
        reserved_tokens,
    });
    Ok(match (outcome, run, row.retry_at) {
        (Outcome::Running, Some(run), _) => BeginRun::Run(run),
        (Outcome::BudgetExceeded | Outcome::CircuitOpen, .., Some(at)) => {
            BeginRun::NotBefore(at, outcome.name())
        }
        (Outcome::Lost, ..) => BeginRun::Lost,
        _ => return Err(Error::internal("begin_job_run returned no run or no time")),
    })
}

/// The round trip after a call. Always settles the run, the budget and the circuit. Stores the
/// result only if the caller still owns the job and the entry. Idempotent.
///
/// Returns the change of the circuit: `opened`, `closed` or nothing.
pub(super) async fn finish(
    db: &Db,
    claim: Claim,
    run: Run,
    end: &RunEnd,
    lease: results::Lease,
    result: Option<&Checked>,
) -> Result<Option<String>> {
    sqlx::query_scalar!(
        "select circuit from finish_job_run($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        claim.site_id,
        claim.job_id,
        claim.fence,
        lease.entry_id,
        lease.generation,
        run.id,
        run.created_at,
        Json(end) as _,
        result.map(|result| &result.json),
        result.and_then(|result| result.score),
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await
}
