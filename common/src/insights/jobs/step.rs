//! One step of a chain: facts, prompt, call, answer. Three answers that cannot be read are the end of it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::{
    prompt_input,
    queue::{self, Job, LEASE},
    run::{self, BeginRun, NewRun},
    worker::JobContext,
};
use crate::{
    dashscope::{self, Call},
    governance::{
        apps::App,
        runs::{Run, RunEnd},
    },
    insights::{
        apps::{self, Checked},
        results::{Lease, Target},
    },
    platform::{clock, db, error::Error, metrics, request_context::RequestContext},
};

/// How often an app is asked again that does not answer as it should.
const ASKED_AT_MOST: u32 = 3;
/// The longest that one call may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// For how long the end of a call is tried to be stored. The lease lasts longer.
const STORING: Duration = Duration::from_secs(15);
/// No call is begun when so little time is left beyond what it may take: its end must be stored, too.
pub(super) const MARGIN: Duration = Duration::from_secs(20);

/// Whether a call that begins now can end in time.
pub(super) fn time_is_left(ends_at: Option<Instant>) -> bool {
    ends_at.is_none_or(|at| Instant::now() + PATIENCE + MARGIN < at)
}

/// Why a step did not come to a result.
#[derive(Debug)]
pub(crate) enum StepError {
    /// Not before then: the budget is used up, the circuit is open, or another reply is being made.
    NotBefore(DateTime<Utc>, &'static str),
    /// Another time it may go better.
    Broken(&'static str, String),
    /// It never will.
    Hopeless(&'static str, String),
    /// The job or its entry is somebody else's by now.
    Lost,
    /// The function nears its end: another will ask.
    OutOfTime,
    /// Whether a run began, or ended, is not known: it may yet. A job that were given back now could be asked
    /// for again while the answer that was paid is still under way to the database.
    Unsure(Error),
}

impl StepError {
    /// As the job is told it; nothing of what is no fault of its own.
    pub fn reason(self) -> Option<(&'static str, String)> {
        match self {
            Self::NotBefore(_, code) => {
                Some((code, "the app may not be asked before then".to_owned()))
            }
            Self::Broken(code, message) | Self::Hopeless(code, message) => Some((code, message)),
            Self::Lost | Self::OutOfTime | Self::Unsure(_) => None,
        }
    }
}

impl From<Error> for StepError {
    fn from(err: Error) -> Self {
        match err {
            // The facts of an event may come after it.
            Error::NotFound => Self::Broken(
                "not_found",
                "the site knows nothing of what the event is about".to_owned(),
            ),
            err => Self::Broken("unavailable", err.to_string()),
        }
    }
}

/// Asks the app of a step, and puts its answer into the entry.
pub(super) async fn generate(
    context: &JobContext,
    job: &Job,
    app: App,
    target: &Target,
    lease: Lease,
    ends_at: Option<Instant>,
) -> Result<(), StepError> {
    let Some(app_id) = context.app_ids.find(app) else {
        let message = format!("{} is not set: the app is disabled", app.variable());
        return Err(StepError::Hopeless("app_disabled", message));
    };
    let prompt = prompt_input::of(&context.db, job, app, target).await?;
    let call = Call {
        app_id: app_id.to_owned(),
        prompt,
        trace: RequestContext::current().trace_value(),
        ..Call::default()
    };
    let mut bad = String::new();
    for _ in 0..ASKED_AT_MOST {
        if !time_is_left(ends_at) {
            return Err(StepError::OutOfTime);
        }
        match ask(context, job, app, &call, lease).await? {
            Ok(()) => return Ok(()),
            Err(err) => bad = err,
        }
    }
    Err(StepError::Hopeless("bad_answer", bad))
}

/// One call, a run of its own. The inner error is an answer that cannot be read.
async fn ask(
    context: &JobContext,
    job: &Job,
    app: App,
    call: &Call,
    lease: Lease,
) -> Result<Result<(), String>, StepError> {
    let new = NewRun {
        app,
        member_id: job.member_id,
        prompt: &call.prompt,
        reserved_tokens: context.limits.reserved_tokens,
        lease: LEASE.as_secs_f64(),
    };
    let opened = run::begin(&context.db, job.claim(), &new).await;
    let run = match opened.map_err(StepError::Unsure)? {
        BeginRun::Run(run) => run,
        BeginRun::NotBefore(at, why) => return Err(StepError::NotBefore(at, why)),
        BeginRun::Lost => return Err(StepError::Lost),
    };
    let began = Instant::now();
    let answer = tokio::select! {
        answer = context.dashscope.complete(call, began + PATIENCE) => Some(answer),
        () = lease_lost(context, job, Some(lease)) => None,
    };
    let took = began.elapsed();
    let failure = answer.as_ref().and_then(|answer| answer.as_ref().err());
    metrics::upstream(app.name(), took, failure.map(dashscope::Error::code));
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

/// Gives signs of life until they find that the job, or its entry, is somebody else's.
pub(crate) async fn lease_lost(context: &JobContext, job: &Job, lease: Option<Lease>) {
    let mut due = interval_at(Instant::now() + LEASE / 3, LEASE / 3);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        match queue::renew_lease(&context.db, job, lease).await {
            Ok(true) => {}
            Ok(false) => return,
            // The lease outlasts two that were not heard.
            Err(err) => tracing::warn!(job_id = job.id, cause = %err, "no sign of life"),
        }
    }
}

/// What was paid must be stored: tried for as long as the lease surely holds.
pub(crate) async fn retry_storing<T, Storing>(
    store: impl FnMut() -> Storing,
) -> Result<T, StepError>
where
    Storing: Future<Output = crate::Result<T>>,
{
    db::retry_until(Instant::now() + STORING, store)
        .await
        .map_err(StepError::Unsure)
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
        // Such a run is its call.
        upstream_latency_ms = end.latency_ms,
        "run ended"
    );
    end.report(app, context.limits.reserved_tokens, circuit.as_deref());
    Ok(())
}

pub(crate) fn step_error(err: &dashscope::Error) -> StepError {
    let end = RunEnd::failed(err);
    let (code, message) = (
        end.error_code.unwrap_or("upstream_error"),
        end.error_message.unwrap_or_default(),
    );
    if err.is_retryable() || matches!(err, dashscope::Error::Timeout { .. }) {
        StepError::Broken(code, message)
    } else {
        StepError::Hopeless(code, message)
    }
}
