//! One step of a chain: facts, prompt, call, check of the answer. Fails after three invalid
//! answers.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::{
    chain::id,
    queue::{self, Job, LEASE},
    run::{self, BeginRun, NewRun},
    worker::JobContext,
};
use crate::{
    dashscope::{self, Answer, Call},
    governance::{
        apps::{App, Application},
        runs::{self, Run, RunEnd},
    },
    insights::{
        apps::{self, Checked, Sources},
        results::{Lease, Target},
    },
    platform::{clock, db, error::Error, metrics, time_limit::TimeLimit},
};

/// Code of a step whose target has no facts. They may be loaded after the event.
pub(super) const FACTS_MISSING: &str = "not_found";
/// Number of calls per step while the answers are invalid.
const ASKED_AT_MOST: u32 = 3;
/// Time limit of one call.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// How long storing the end of a call is retried. Shorter than the lease.
const STORING: Duration = Duration::from_secs(15);
/// A call starts only if at least `PATIENCE` and this margin remain, so that its end can be stored.
pub(super) const MARGIN: Duration = Duration::from_secs(20);

/// True if a call that starts now can end in time.
pub(super) fn time_is_left(limit: &TimeLimit) -> bool {
    limit
        .at()
        .is_none_or(|at| Instant::now() + PATIENCE + MARGIN < at)
}

/// Why a step has no result.
#[derive(Debug)]
pub(crate) enum StepError {
    /// Refused until this time: no budget, an open circuit, or another reply in progress.
    NotBefore(DateTime<Utc>, &'static str),
    /// A retry may succeed.
    Retryable(&'static str, String),
    /// A retry would fail, too.
    Permanent(&'static str, String),
    /// Another worker has the job or its entry.
    Lost,
    /// The function is about to end. Another worker continues.
    OutOfTime,
    /// It is unknown whether the start or the end of a run was stored. The job is not released,
    /// because another worker would repeat a paid call whose result may still arrive in the
    /// database.
    Unknown(Error),
}

impl StepError {
    /// The app has no application.
    pub(super) fn disabled(app: App) -> Self {
        Self::Permanent("app_disabled", app.disabled())
    }

    /// Code for the trace.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotBefore(_, code) | Self::Retryable(code, _) | Self::Permanent(code, _) => code,
            Self::Lost => "lost",
            Self::OutOfTime => "out_of_time",
            Self::Unknown(_) => "unknown",
        }
    }

    /// Code and message for the job. `None` for errors that the job did not cause.
    pub fn reason(self) -> Option<(&'static str, String)> {
        match self {
            Self::NotBefore(_, code) => {
                Some((code, "the app may not be called before then".to_owned()))
            }
            Self::Retryable(code, message) | Self::Permanent(code, message) => {
                Some((code, message))
            }
            Self::Lost | Self::OutOfTime | Self::Unknown(_) => None,
        }
    }
}

impl From<Error> for StepError {
    fn from(err: Error) -> Self {
        match err {
            // The facts may be loaded after the event.
            Error::NotFound => Self::Retryable(
                FACTS_MISSING,
                "the target of the event does not exist in the site".to_owned(),
            ),
            err => Self::Retryable("unavailable", err.to_string()),
        }
    }
}

/// Calls the application of a step and stores the result in the entry.
pub(super) async fn generate(
    context: &JobContext,
    job: &Job,
    app: App,
    target: &Target,
    lease: Lease,
    limit: &TimeLimit,
) -> Result<(), StepError> {
    let definition = app
        .definition()
        .ok_or(Error::internal("the chat is not a step"))?;
    let prompt = (definition.read_prompt)(Sources {
        db: &context.db,
        site_id: job.site_id,
        app,
        target,
        member_id: job.member_id,
        coach_id: id(&job.payload, "coach_id"),
    })
    .await?;
    let mut bad = String::new();
    for _ in 0..ASKED_AT_MOST {
        if !time_is_left(limit) {
            return Err(StepError::OutOfTime);
        }
        match ask(context, job, app, &prompt, lease).await? {
            Ok(()) => return Ok(()),
            Err(err) => bad = err,
        }
    }
    Err(StepError::Permanent("bad_answer", bad))
}

/// One call with its own run. The inner error is an invalid answer.
async fn ask(
    context: &JobContext,
    job: &Job,
    app: App,
    prompt: &str,
    lease: Lease,
) -> Result<Result<(), String>, StepError> {
    let new = NewRun {
        app,
        app_id: context.app_ids.find(app),
        member_id: job.member_id,
        prompt,
        reserved_tokens: context.limits.reserved_tokens,
        lease: LEASE.as_secs_f64(),
    };
    let opened = run::begin(&context.db, job.claim(), &new).await;
    let (run, mut application) = match opened.map_err(StepError::Unknown)? {
        BeginRun::Run(run, application) => (run, application),
        BeginRun::Disabled => return Err(StepError::disabled(app)),
        BeginRun::NotBefore(at, why) => return Err(StepError::NotBefore(at, why)),
        BeginRun::Lost => return Err(StepError::Lost),
    };
    let began = Instant::now();
    let (answer, earlier) = call(context, job, app, run, &mut application, prompt, lease).await;
    let took = began.elapsed();
    let (mut end, checked) = match &answer {
        Some(Ok(answer)) => (
            RunEnd::answered(answer),
            Some(apps::check(app, &answer.text)),
        ),
        Some(Err(err)) => (RunEnd::failed(err), None),
        None => (RunEnd::given_up(), None),
    };
    if let Some(Err(bad)) = &checked {
        end.fail("bad_answer", bad.to_string());
    }
    if let Some(throttled) = &earlier {
        end.add_spent(throttled.spent());
        end.attempts += throttled.details().attempts;
    }
    end.latency_ms = clock::millis(took);
    let result = checked.as_ref().and_then(|checked| checked.as_ref().ok());
    finish(context, job, app, run, &end, lease, result).await?;
    match answer {
        None => Err(StepError::Lost),
        Some(Err(err)) => Err(step_error(&err)),
        Some(Ok(_)) => Ok(checked.map_or(Ok(()), |checked| {
            checked.map(drop).map_err(|bad| bad.to_string())
        })),
    }
}

type Answered = Option<Result<Answer, dashscope::Error>>;

/// Calls the application. If it throttles, calls its fallback, and returns the first error as well.
/// The answer is `None` if the lease was lost.
async fn call(
    context: &JobContext,
    job: &Job,
    app: App,
    run: Run,
    application: &mut Application,
    prompt: &str,
    lease: Lease,
) -> (Answered, Option<dashscope::Error>) {
    let until = Instant::now() + PATIENCE;
    let mut earlier = None;
    loop {
        let call = Call {
            prompt: prompt.to_owned(),
            ..application.call(app)
        };
        let began = Instant::now();
        let answer = tokio::select! {
            answer = context.dashscope.complete(&call, until) => answer,
            () = lease_lost(context, job, Some(lease)) => return (None, earlier),
        };
        let code = answer.as_ref().err().map(dashscope::Error::code);
        metrics::upstream(app.name(), began.elapsed(), code);
        match answer {
            Err(err)
                if runs::fall_back(&context.db, job.site_id, run, app, application, &err).await =>
            {
                earlier = Some(err);
            }
            answer => return (Some(answer), earlier),
        }
    }
}

/// Renews the leases until the job or its entry is lost.
pub(crate) async fn lease_lost(context: &JobContext, job: &Job, lease: Option<Lease>) {
    let mut due = interval_at(Instant::now() + LEASE / 3, LEASE / 3);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        match queue::renew_lease(&context.db, job, lease).await {
            Ok(true) => {}
            Ok(false) => return,
            // The lease lasts for three intervals, so it survives two failed renewals.
            Err(err) => tracing::warn!(job_id = job.id, cause = %err, "lease could not be renewed"),
        }
    }
}

/// Retries `store` while the lease is valid, because the call is already paid.
pub(crate) async fn retry_storing<T, Storing>(
    store: impl FnMut() -> Storing,
) -> Result<T, StepError>
where
    Storing: Future<Output = crate::Result<T>>,
{
    db::retry_until(Instant::now() + STORING, store)
        .await
        .map_err(StepError::Unknown)
}

async fn finish(
    context: &JobContext,
    job: &Job,
    app: App,
    run: Run,
    end: &RunEnd,
    lease: Lease,
    result: Option<&Checked>,
) -> Result<(), StepError> {
    let circuit =
        retry_storing(|| run::finish(&context.db, job.claim(), run, end, lease, result)).await?;
    tracing::info!(
        job_id = job.id,
        run_id = run.id,
        app = app.name(),
        status = end.status,
        error_code = end.error_code,
        latency_ms = end.latency_ms,
        // Nothing but calls takes time, so both durations are equal.
        upstream_latency_ms = end.latency_ms,
        "run ended"
    );
    end.report(app, run.reserved_tokens, circuit.as_deref());
    Ok(())
}

pub(crate) fn step_error(err: &dashscope::Error) -> StepError {
    let end = RunEnd::failed(err);
    let (code, message) = (
        end.error_code.unwrap_or("upstream_error"),
        end.error_message.unwrap_or_default(),
    );
    if err.is_retryable() || matches!(err, dashscope::Error::Timeout { .. }) {
        StepError::Retryable(code, message)
    } else {
        StepError::Permanent(code, message)
    }
}
