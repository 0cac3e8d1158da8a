//! Drives jobs: claims what is due, runs each chain as far as it goes, gives back what cannot go on.

use std::{pin::pin, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{Fuse, FusedFuture as _},
    stream::FuturesUnordered,
};
use tokio::time::Instant;
use tracing::Instrument as _;

use super::{
    event::EventType,
    prewarm,
    queue::{self, GiveBack, Job, Next},
    reply,
    step::{self, MARGIN, PATIENCE, Stuck, time_is_left},
};
use crate::{
    apps::AppIds,
    clock,
    config::{ConfigError, DashScopeConfig, DatabaseConfig, Env, JobLimits},
    dashscope::DashScope,
    db::{self, Db},
    error::{Error, Result},
    origin::Origin,
    queue::{JobQueue, MAX_DELAY},
    telemetry,
};

/// When an invocation ends that may claim jobs for a minute.
pub fn after_a_minute() -> Instant {
    Instant::now() + Duration::from_secs(60) + PATIENCE + MARGIN
}

/// Runs jobs. A clone shares everything.
#[derive(Clone)]
pub struct Worker(Arc<Desk>);

pub(super) struct Desk {
    pub db: Db,
    pub dashscope: DashScope,
    pub app_ids: AppIds,
    pub limits: JobLimits,
    pub queue: JobQueue,
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
    /// Takes its tools; asks and connects to nothing yet.
    pub fn new(
        db: Db,
        dashscope: DashScope,
        app_ids: AppIds,
        limits: JobLimits,
        queue: JobQueue,
    ) -> Self {
        Self(Arc::new(Desk {
            db,
            dashscope,
            app_ids,
            limits,
            queue,
        }))
    }

    /// The same, from what the environment says.
    ///
    /// # Errors
    /// Names the variable that is missing or cannot be read.
    pub async fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let (database, dashscope) = tokio::try_join!(
            Box::pin(DatabaseConfig::from_env(env)),
            Box::pin(DashScopeConfig::from_env(env))
        )?;
        let (dashscope, app_ids) = dashscope.open()?;
        Ok(Self::new(
            db::connect_lazy(&database)?,
            dashscope,
            app_ids,
            JobLimits::from_env(env)?,
            JobQueue::from_env(env),
        ))
    }

    /// Claims and runs jobs, several at once, until none is due. Where `ends_at` is near, nothing new is
    /// begun, and what has further steps is given back for another worker.
    pub async fn run(&self, ends_at: Option<Instant>) -> Worked {
        let mut worked = Worked::default();
        let mut running = FuturesUnordered::new();
        // Beside the jobs, not before them: they hold connections, which they must be able to give back.
        let mut claiming = pin!(Fuse::terminated());
        loop {
            let free = self.0.limits.at_once.saturating_sub(running.len());
            let wanted =
                !worked.drained && !worked.unreachable && free > 0 && time_is_left(ends_at);
            if wanted && claiming.is_terminated() {
                let claim = queue::claim(&self.0.db, free);
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
        match self.follow(&job, ends_at).await {
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

    async fn follow(&self, job: &Job, ends_at: Option<Instant>) -> Result<Outcome> {
        let desk = &*self.0;
        if job.event == EventType::EtlFinished {
            let queued = prewarm::enqueue_site(&desk.db, job).await?;
            desk.queue.wake(queued).await;
            queue::succeed(&desk.db, job).await?;
            return Ok(Outcome::Succeeded);
        }
        if job.event == EventType::SessionMessage {
            return self.reply(job).await;
        }
        let targets = match job.targets() {
            Ok(targets) => targets,
            Err(err) => {
                return self
                    .give_back(job, GiveBack::Fail, Some(("invalid_job", err.to_string())))
                    .await;
            }
        };
        loop {
            let (step, lease) = match queue::advance(&desk.db, job, &targets).await? {
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
            if let Err(stuck) = step::generate(desk, job, app, target, lease, ends_at).await {
                return self.put_off(job, stuck).await;
            }
        }
    }

    /// Gives back a job that is stuck: until it may go on, for another try, or for good.
    async fn put_off(&self, job: &Job, stuck: Stuck) -> Result<Outcome> {
        let how = match stuck {
            // Where only the entry was lost, as when it was invalidated, it begins anew.
            Stuck::Lost | Stuck::OutOfTime => GiveBack::Wait(None),
            Stuck::NotBefore(at, _) => GiveBack::Wait(Some(at)),
            Stuck::Broken(..) => GiveBack::Retry,
            Stuck::Hopeless(..) => GiveBack::Fail,
            // The sweep settles the run together with the job.
            Stuck::Unsure(err) => return Err(err),
        };
        self.give_back(job, how, stuck.reason()).await
    }

    /// The reply of a bot; where there is none, a message says so.
    async fn reply(&self, job: &Job) -> Result<Outcome> {
        let stuck = match reply::make(&self.0, job).await {
            Ok(()) => return Ok(Outcome::Succeeded),
            Err(stuck) => stuck,
        };
        if reply::goes_on(job, &stuck, clock::now()) {
            return self.put_off(job, stuck).await;
        }
        let (code, message) = stuck.reason().unwrap_or_default();
        reply::give_up(&self.0.db, job, code, &message).await?;
        tracing::warn!(job_id = job.id, error_code = code, "a bot could not reply");
        Ok(Outcome::Failed)
    }

    async fn give_back(
        &self,
        job: &Job,
        how: GiveBack,
        error: Option<(&'static str, String)>,
    ) -> Result<Outcome> {
        let code = error.as_ref().map(|error| error.0);
        let Some((status, due)) = queue::give_back(&self.0.db, job, &how, error).await? else {
            tracing::warn!(job_id = job.id, "a job was lost to another worker");
            return Ok(Outcome::GivenBack);
        };
        if status == "failed" {
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
            self.0.queue.wake_after(1, delay).await;
        }
    }
}

/// Of each line about a job: whose it is, and which invocation works on it.
fn span(job: &Job) -> tracing::Span {
    let origin = Origin::current();
    tracing::info_span!(
        "job",
        request_id = origin.request_id(),
        trace_id = origin.trace_id(),
        site_id = job.site_id
    )
}
