//! Runs jobs: claims jobs that are due, runs their chains, and releases jobs that cannot continue.

use std::{collections::HashMap, num::NonZeroUsize, pin::pin, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, Fuse, FusedFuture as _},
    stream::FuturesUnordered,
};
use tokio::time::{Instant, sleep};
use tracing::Instrument as _;

use super::{
    event::EventType,
    list::Status,
    prewarm,
    queue::{self, Job, Next, Release},
    step::{self, MARGIN, PATIENCE, StepError, time_is_left},
};
use crate::{
    dashscope::DashScope,
    governance::apps::{App, AppIds},
    insights::results::Target,
    platform::{
        clock,
        db::Db,
        env::{ConfigError, Env},
        error::{Error, Result},
        request_context::{RequestContext, start_span},
        sqs::{JobQueue, MAX_DELAY},
        telemetry,
        time_limit::TimeLimit,
        traces::{Kind, Span},
    },
};

/// When an invocation ends that claims jobs for one minute and then finishes them.
pub fn after_a_minute() -> Instant {
    Instant::now() + Duration::from_secs(60) + PATIENCE + MARGIN
}

/// Limits of background work.
#[derive(Clone, Copy, Debug)]
pub struct JobLimits {
    /// Number of jobs that one worker runs at once.
    pub at_once: usize,
    /// Tokens reserved for a call besides those of its prompt, until the app has an average.
    pub reserved_tokens: i64,
}

impl JobLimits {
    /// Reads the `JOB_…` variables.
    ///
    /// # Errors
    /// Names the variable that cannot be read.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let at_once: NonZeroUsize =
            env.parsed("JOB_CONCURRENCY", "a whole number above 0", DEFAULT_AT_ONCE)?;
        Ok(Self {
            at_once: at_once.get(),
            reserved_tokens: Self::reserved_tokens(env)?,
        })
    }

    /// Reads only the tokens that are reserved during a call.
    ///
    /// # Errors
    /// Names the variable if it cannot be read.
    pub fn reserved_tokens(env: &Env) -> Result<i64, ConfigError> {
        env.parsed("JOB_RESERVED_TOKENS", "a whole number", 2000)
    }
}

/// Jobs of one worker. Calls take seconds, so even ten workers stay far below the 100 requests per
/// second that DashScope accepts for an application.
const DEFAULT_AT_ONCE: NonZeroUsize = NonZeroUsize::new(8).expect("not zero");

/// How often a worker with running jobs and free places looks for new jobs. Their users wait for
/// them, so it is less than a second. Each look reads a few index entries.
const LOOKS_EVERY: Duration = Duration::from_millis(500);

/// Runs jobs. Clones share one state.
#[derive(Clone)]
pub struct Worker {
    context: Arc<JobContext>,
    session_replies: Arc<dyn SessionReplies>,
}

/// Everything that a job needs.
pub(crate) struct JobContext {
    pub db: Db,
    pub dashscope: DashScope,
    pub app_ids: AppIds,
    pub limits: JobLimits,
    pub queue: JobQueue,
}

/// Makes the bot's reply to a message of a session. The layer `chat` implements it, because jobs
/// are in a lower layer.
pub(crate) trait SessionReplies: Send + Sync {
    /// Calls the bot once. Stores its reply, or a message that there is none, and ends the job.
    fn reply<'a>(
        &'a self,
        context: &'a JobContext,
        job: &'a Job,
    ) -> BoxFuture<'a, Result<SessionReplyOutcome>>;
}

/// Result of a reply to a message of a session.
pub(crate) enum SessionReplyOutcome {
    /// The reply is stored.
    Replied,
    /// There will be no reply. A message for the user is stored instead.
    GaveUp,
    /// The job must try again later.
    Later(StepError),
}

/// Counts of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[expect(missing_docs, reason = "plain data")]
pub struct Worked {
    pub claimed: u32,
    pub succeeded: u32,
    /// Jobs that will not be retried.
    pub failed: u32,
    /// Jobs that were cancelled, or released to be continued later or by another worker.
    pub given_back: u32,
    /// True if no due job was left. False if time ran out or jobs could not be claimed.
    pub drained: bool,
    /// True if jobs could not be claimed. The log has the cause.
    pub unreachable: bool,
}

impl Worked {
    /// The counts of a worker that had nothing to do.
    pub const IDLE: Self = Self {
        claimed: 0,
        succeeded: 0,
        failed: 0,
        given_back: 0,
        drained: true,
        unreachable: false,
    };
}

impl Worked {
    fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Succeeded => self.succeeded += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::GivenBack => self.given_back += 1,
        }
    }
}

enum Outcome {
    Succeeded,
    Failed,
    GivenBack,
}

impl Outcome {
    const fn name(&self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::GivenBack => "given_back",
        }
    }
}

impl Worker {
    /// Does not connect to anything yet.
    pub(crate) fn new(context: JobContext, session_replies: Arc<dyn SessionReplies>) -> Self {
        Self {
            context: Arc::new(context),
            session_replies,
        }
    }

    /// Wakes jobs whose wait is over. Then claims and runs jobs concurrently until none is due.
    /// Shortly before `limit`, it starts nothing new and releases jobs that have more steps.
    pub async fn run(&self, limit: impl Into<TimeLimit>) -> Worked {
        let limit = &limit.into();
        if let Err(err) = queue::wake(&self.context.db).await {
            tracing::warn!(
                cause = telemetry::chain(&err),
                "waiting jobs could not be woken"
            );
        }
        let mut worked = Worked::default();
        let mut running = FuturesUnordered::new();
        // The claim runs beside the jobs. If the jobs stood still until it is done, it might wait
        // for a connection that one of them has.
        let mut claiming = pin!(Fuse::terminated());
        let mut look_again = pin!(sleep(LOOKS_EVERY));
        loop {
            let free = self.context.limits.at_once.saturating_sub(running.len());
            let may_claim = !worked.unreachable && free > 0 && time_is_left(limit);
            if may_claim && !worked.drained && claiming.is_terminated() {
                let claim = self.claim(free);
                claiming.set(claim.map(move |jobs| (free, jobs)).fuse());
            }
            tokio::select! {
                (asked, jobs) = &mut claiming, if !claiming.is_terminated() => match jobs {
                    Ok(jobs) => {
                        worked.drained = jobs.len() < asked;
                        look_again.as_mut().reset(Instant::now() + LOOKS_EVERY);
                        worked.claimed += u32::try_from(jobs.len()).unwrap_or(u32::MAX);
                        running.extend(jobs.into_iter().map(|(job, first)| {
                            let (span, context) = (span(&job), context(&job));
                            let work = self.work(job, first, limit).instrument(span);
                            context.scope(work).boxed()
                        }));
                    }
                    Err(err) => {
                        tracing::error!(cause = telemetry::chain(&err), "jobs could not be claimed");
                        worked.unreachable = true;
                    }
                },
                Some(outcome) = running.next(), if !running.is_empty() => {
                    // A job that waited for the same target may be due now.
                    worked.drained = false;
                    worked.count(&outcome);
                    // Jobs that ended together free their places together, for one larger claim.
                    while let Some(Some(outcome)) = running.next().now_or_never() {
                        worked.count(&outcome);
                    }
                }
                // A running job may take two minutes. New jobs do not wait for its end.
                () = &mut look_again, if may_claim && worked.drained && !running.is_empty() => {
                    worked.drained = false;
                }
                else => return worked,
            }
        }
    }

    /// Claims jobs, and advances their chains in one statement. If that fails, each job is advanced
    /// alone later.
    async fn claim(&self, most: usize) -> Result<Vec<(Job, Option<Next>)>> {
        let jobs = queue::claim(&self.context.db, most).await?;
        let mut chained: Vec<(&Job, Vec<Target>)> = jobs
            .iter()
            .filter(|job| job.has_chain())
            .filter_map(|job| Some((job, job.targets().ok()?)))
            .collect();
        // All workers lock targets in the same order.
        chained.sort_by_cached_key(|(job, targets)| {
            (
                job.site_id,
                targets.iter().map(Target::id).collect::<Vec<_>>(),
            )
        });
        let mut firsts = HashMap::new();
        if !chained.is_empty() {
            let advancing: Vec<_> = chained.iter().map(|(job, of)| (*job, &**of)).collect();
            let context = &*self.context;
            match queue::advance(&context.db, &advancing, &context.app_ids).await {
                Ok(nexts) => firsts.extend(chained.iter().map(|(job, _)| job.id).zip(nexts)),
                Err(err) => tracing::warn!(
                    cause = telemetry::chain(&err),
                    "jobs could not be advanced together"
                ),
            }
        }
        let with_first = |job: Job| {
            let first = firsts.remove(&job.id);
            (job, first)
        };
        Ok(jobs.into_iter().map(with_first).collect())
    }

    async fn work(&self, job: Job, first: Option<Next>, limit: &TimeLimit) -> Outcome {
        let outcome = self.run_job(&job, first, limit).await;
        let traced = RequestContext::current();
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(err) => {
                // Its lease expires, the sweep makes it pending again, and a worker claims it.
                tracing::error!(
                    job_id = job.id,
                    cause = telemetry::chain(&err),
                    "a job was left for the sweep"
                );
                Outcome::GivenBack
            }
        };
        traced.span().set("parlor.job.outcome", outcome.name());
        traced.span().end();
        outcome
    }

    /// `first` is the first action for the job, if it is known.
    async fn run_job(
        &self,
        job: &Job,
        mut first: Option<Next>,
        limit: &TimeLimit,
    ) -> Result<Outcome> {
        let context = &*self.context;
        if job.event == EventType::EtlFinished {
            let queued = prewarm::enqueue_site(&context.db, job).await?;
            context.queue.notify_workers(queued).await;
            queue::succeed(&context.db, job).await?;
            return Ok(Outcome::Succeeded);
        }
        if job.event == EventType::SessionMessage {
            return self.reply(job).await;
        }
        let targets = match job.targets() {
            Ok(targets) => targets,
            Err(err) => {
                return self
                    .release(job, Release::Fail, Some(("invalid_job", err.to_string())))
                    .await;
            }
        };
        loop {
            let next = match first.take() {
                Some(next) => next,
                None => self.advance(job, &targets).await?,
            };
            let (step, lease) = match next {
                Next::Generate(step, lease) => (step, lease),
                Next::Disabled(step) => {
                    let Some(&app) = job.chain.get(step) else {
                        return Err(beyond_the_end());
                    };
                    return self
                        .release_after_error(job, StepError::disabled(app))
                        .await;
                }
                Next::Nothing => {
                    tracing::info!(job_id = job.id, "job succeeded");
                    return Ok(Outcome::Succeeded);
                }
                Next::Cancelled => {
                    tracing::info!(job_id = job.id, "job cancelled");
                    return Ok(Outcome::GivenBack);
                }
                Next::Wait(until) => {
                    self.wake_at(until).await;
                    return Ok(Outcome::GivenBack);
                }
                Next::Lost => return Ok(Outcome::GivenBack),
            };
            let (Some(&app), Some(target)) = (job.chain.get(step), targets.get(step)) else {
                return Err(beyond_the_end());
            };
            let traced = step_span(app, step);
            let origin = RequestContext::current().with_span(traced.clone());
            let generating = step::generate(context, job, app, target, lease, limit);
            let generated = origin.scope(generating).await;
            if let Err(error) = &generated {
                traced.fail(error.code());
            }
            traced.end();
            if let Err(error) = generated {
                return self.release_after_error(job, error).await;
            }
        }
    }

    async fn advance(&self, job: &Job, targets: &[Target]) -> Result<Next> {
        let context = &*self.context;
        let nexts = queue::advance(&context.db, &[(job, targets)], &context.app_ids).await?;
        let next = nexts.into_iter().next();
        next.ok_or(Error::internal("advance_job returned no row"))
    }

    /// Releases a job after an error: to wait, to retry, or as failed.
    async fn release_after_error(&self, job: &Job, error: StepError) -> Result<Outcome> {
        let how = match error {
            // If only the lease of the result was lost, for example because an admin invalidated
            // it, the step starts again.
            StepError::Lost | StepError::OutOfTime => Release::Wait(None),
            StepError::NotBefore(at, _) => Release::Wait(Some(at)),
            StepError::Retryable(..) => Release::Retry,
            StepError::Permanent(..) => Release::Fail,
            // The sweep settles the run and releases the job.
            StepError::Unknown(err) => return Err(err),
        };
        self.release(job, how, error.reason()).await
    }

    async fn reply(&self, job: &Job) -> Result<Outcome> {
        match self.session_replies.reply(&self.context, job).await? {
            SessionReplyOutcome::Replied => Ok(Outcome::Succeeded),
            SessionReplyOutcome::GaveUp => Ok(Outcome::Failed),
            SessionReplyOutcome::Later(error) => self.release_after_error(job, error).await,
        }
    }

    async fn release(
        &self,
        job: &Job,
        how: Release,
        error: Option<(&'static str, String)>,
    ) -> Result<Outcome> {
        let code = error.as_ref().map(|error| error.0);
        let Some((status, due)) = queue::release(&self.context.db, job, &how, error).await? else {
            tracing::warn!(job_id = job.id, "a job was lost to another worker");
            return Ok(Outcome::GivenBack);
        };
        if status == Status::Failed {
            tracing::warn!(job_id = job.id, error_code = code, "job failed");
            return Ok(Outcome::Failed);
        }
        if status == Status::Cancelled {
            tracing::info!(job_id = job.id, error_code = code, "job cancelled");
            return Ok(Outcome::GivenBack);
        }
        tracing::info!(job_id = job.id, error_code = code, run_after = %due, "job released");
        self.wake_at(due).await;
        Ok(Outcome::GivenBack)
    }

    /// Notifies a worker when the job is due. If it is due later than
    /// SQS can delay a message, the schedule finds it, every minute.
    async fn wake_at(&self, due: DateTime<Utc>) {
        let delay = (due - clock::now()).to_std().unwrap_or_default();
        if delay <= Duration::from_secs(MAX_DELAY) {
            self.context.queue.notify_workers_after(1, delay).await;
        }
    }
}

fn beyond_the_end() -> Error {
    Error::internal("the step is beyond the end of the chain")
}

/// Adds the site and the ids of the invocation to each log line of a job.
fn span(job: &Job) -> tracing::Span {
    let origin = RequestContext::current();
    tracing::info_span!(
        "job",
        request_id = origin.request_id(),
        trace_id = origin.trace_id().as_deref(),
        site_id = job.site_id
    )
}

/// The context of the invocation, with a span for this job.
fn context(job: &Job) -> RequestContext {
    let traced = start_span(Kind::Internal, || format!("job {}", job.event.name()));
    traced.set("parlor.job.id", job.id);
    traced.set("parlor.job.attempt", i64::from(job.attempts));
    traced.set("parlor.site.id", job.site_id);
    RequestContext::current().with_span(traced)
}

fn step_span(app: App, step: usize) -> Span {
    let traced = start_span(Kind::Internal, || format!("step {}", app.name()));
    traced.set("parlor.app", app.name());
    traced.set("parlor.job.step", i64::try_from(step).unwrap_or(i64::MAX));
    traced
}
