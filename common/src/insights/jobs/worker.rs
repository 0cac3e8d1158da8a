//! Drives jobs: claims what is due, runs each chain as far as it goes, gives back what cannot go on.

use std::{num::NonZeroUsize, pin::pin, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, Fuse, FusedFuture as _},
    stream::FuturesUnordered,
};
use tokio::time::Instant;
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
    governance::apps::AppIds,
    platform::{
        clock,
        db::Db,
        env::{ConfigError, Env},
        error::{Error, Result},
        request_context::RequestContext,
        sqs::{JobQueue, MAX_DELAY},
        telemetry,
    },
};

/// When an invocation ends that may claim jobs for a minute.
pub fn after_a_minute() -> Instant {
    Instant::now() + Duration::from_secs(60) + PATIENCE + MARGIN
}

/// What background work may take.
#[derive(Clone, Copy, Debug)]
pub struct JobLimits {
    /// Calls of apps that one worker has under way at once.
    pub at_once: usize,
    /// Tokens held against the site's budget while an app is asked.
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
            reserved_tokens: env.parsed("JOB_RESERVED_TOKENS", "a whole number", 2000)?,
        })
    }
}

/// DashScope takes 100 requests a second of an application; a call takes seconds.
const DEFAULT_AT_ONCE: NonZeroUsize = NonZeroUsize::new(8).expect("not zero");

/// Runs jobs. A clone shares everything.
#[derive(Clone)]
pub struct Worker {
    context: Arc<JobContext>,
    session_replies: Arc<dyn SessionReplies>,
}

/// What jobs are run with.
pub(crate) struct JobContext {
    pub db: Db,
    pub dashscope: DashScope,
    pub app_ids: AppIds,
    pub limits: JobLimits,
    pub queue: JobQueue,
}

/// Has a bot reply to the message of a session. The chat implements it, for jobs are below the chat.
pub(crate) trait SessionReplies: Send + Sync {
    /// Asks the bot once and stores its reply with the end of the job; or stores that there is none.
    fn reply<'a>(
        &'a self,
        context: &'a JobContext,
        job: &'a Job,
    ) -> BoxFuture<'a, Result<SessionReplyOutcome>>;
}

/// What became of the reply to a session's message.
pub(crate) enum SessionReplyOutcome {
    /// It is stored.
    Replied,
    /// There will be none, and a message says so.
    GaveUp,
    /// Not now.
    Later(StepError),
}

/// What a worker did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Worked {
    /// Jobs taken.
    pub claimed: u32,
    /// Of them, those that came to their end.
    pub succeeded: u32,
    /// Those that will never.
    pub failed: u32,
    /// Those that were given back, to go on later or elsewhere.
    pub given_back: u32,
    /// Whether nothing was left that is due. Else there was no time, or jobs could not be claimed.
    pub drained: bool,
    /// Jobs could not be claimed; why is in the log.
    pub unreachable: bool,
}

impl Worked {
    /// There was nothing to do.
    pub const IDLE: Self = Self {
        claimed: 0,
        succeeded: 0,
        failed: 0,
        given_back: 0,
        drained: true,
        unreachable: false,
    };
}

enum Outcome {
    Succeeded,
    Failed,
    GivenBack,
}

impl Worker {
    /// Connects to nothing yet.
    pub(crate) fn new(context: JobContext, session_replies: Arc<dyn SessionReplies>) -> Self {
        Self {
            context: Arc::new(context),
            session_replies,
        }
    }

    /// Claims and runs jobs, several at once, until none is due. Where `ends_at` is near, nothing new is
    /// begun, and what has further steps is given back for another worker.
    pub async fn run(&self, ends_at: Option<Instant>) -> Worked {
        let mut worked = Worked::default();
        let mut running = FuturesUnordered::new();
        // Beside the jobs, not before them: they hold connections, which they must be able to give back.
        let mut claiming = pin!(Fuse::terminated());
        loop {
            let free = self.context.limits.at_once.saturating_sub(running.len());
            let wanted =
                !worked.drained && !worked.unreachable && free > 0 && time_is_left(ends_at);
            if wanted && claiming.is_terminated() {
                let claim = queue::claim(&self.context.db, free);
                claiming.set(claim.map(move |jobs| (free, jobs)).fuse());
            }
            tokio::select! {
                (asked, jobs) = &mut claiming, if !claiming.is_terminated() => match jobs {
                    Ok(jobs) => {
                        worked.drained = jobs.len() < asked;
                        worked.claimed += u32::try_from(jobs.len()).unwrap_or(u32::MAX);
                        running.extend(jobs.into_iter().map(|job| {
                            let span = span(&job);
                            self.work(job, ends_at).instrument(span).boxed()
                        }));
                    }
                    Err(err) => {
                        tracing::error!(cause = telemetry::chain(&err), "no job could be claimed");
                        worked.unreachable = true;
                    }
                },
                Some(outcome) = running.next(), if !running.is_empty() => {
                    // Whoever waited for that job's target may be due by now.
                    worked.drained = false;
                    match outcome {
                        Outcome::Succeeded => worked.succeeded += 1,
                        Outcome::Failed => worked.failed += 1,
                        Outcome::GivenBack => worked.given_back += 1,
                    }
                }
                else => return worked,
            }
        }
    }

    async fn work(&self, job: Job, ends_at: Option<Instant>) -> Outcome {
        match self.run_job(&job, ends_at).await {
            Ok(outcome) => outcome,
            Err(err) => {
                // Its lease runs out, and its turn comes again.
                tracing::error!(
                    job_id = job.id,
                    cause = telemetry::chain(&err),
                    "a job was left where it was"
                );
                Outcome::GivenBack
            }
        }
    }

    async fn run_job(&self, job: &Job, ends_at: Option<Instant>) -> Result<Outcome> {
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
            let (step, lease) = match queue::advance(&context.db, job, &targets).await? {
                Next::Generate(step, lease) => (step, lease),
                Next::Nothing => {
                    tracing::info!(job_id = job.id, "job succeeded");
                    return Ok(Outcome::Succeeded);
                }
                Next::Wait(until) => {
                    self.wake_at(until).await;
                    return Ok(Outcome::GivenBack);
                }
                Next::Lost => return Ok(Outcome::GivenBack),
            };
            let (Some(&app), Some(target)) = (job.chain.get(step), targets.get(step)) else {
                return Err(Error::internal("a step beyond its chain"));
            };
            if let Err(error) = step::generate(context, job, app, target, lease, ends_at).await {
                return self.put_off(job, error).await;
            }
        }
    }

    /// Gives back a job that is error: until it may go on, for another try, or for good.
    async fn put_off(&self, job: &Job, error: StepError) -> Result<Outcome> {
        let how = match error {
            // Where only the entry was lost, as when it was invalidated, it begins anew.
            StepError::Lost | StepError::OutOfTime => Release::Wait(None),
            StepError::NotBefore(at, _) => Release::Wait(Some(at)),
            StepError::Broken(..) => Release::Retry,
            StepError::Hopeless(..) => Release::Fail,
            // The sweep settles the run together with the job.
            StepError::Unsure(err) => return Err(err),
        };
        self.release(job, how, error.reason()).await
    }

    async fn reply(&self, job: &Job) -> Result<Outcome> {
        match self.session_replies.reply(&self.context, job).await? {
            SessionReplyOutcome::Replied => Ok(Outcome::Succeeded),
            SessionReplyOutcome::GaveUp => Ok(Outcome::Failed),
            SessionReplyOutcome::Later(error) => self.put_off(job, error).await,
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
        tracing::info!(job_id = job.id, error_code = code, run_after = %due, "job goes on later");
        self.wake_at(due).await;
        Ok(Outcome::GivenBack)
    }

    /// Has a worker woken when a job is due; one that is not due for long is found by the minute's schedule.
    async fn wake_at(&self, due: DateTime<Utc>) {
        let delay = (due - clock::now()).to_std().unwrap_or_default();
        if delay <= Duration::from_secs(MAX_DELAY) {
            self.context.queue.notify_workers_after(1, delay).await;
        }
    }
}

/// Of each line about a job: whose it is, and which invocation works on it.
fn span(job: &Job) -> tracing::Span {
    let origin = RequestContext::current();
    tracing::info_span!(
        "job",
        request_id = origin.request_id(),
        trace_id = origin.trace_id(),
        site_id = job.site_id
    )
}
