//! Jobs, and the schedules that EventBridge Scheduler runs in the cloud.
//!
//! Each instance runs jobs: the job table gives a job to one worker. A run of a schedule takes its
//! turn ([`schedules`]), so one instance makes it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use common::{
    insights::jobs::{PrewarmSchedule, Worker},
    platform::{
        db::Db,
        error::Result,
        request_context::{RequestContext, start_span},
        schedules, telemetry,
        time_limit::Shutdown,
        traces::Kind,
    },
};
use lambda::Invocation;
use tokio::time::{MissedTickBehavior, interval};

/// How often an instance looks for due jobs. It replaces the messages of SQS.
const JOBS_EVERY: Duration = Duration::from_secs(1);
/// How often an instance looks for due runs of schedules.
const SCHEDULES_EVERY: Duration = Duration::from_secs(10);

/// The background functions of one process.
#[expect(missing_docs, reason = "plain data")]
pub struct Background {
    pub sweep: sweep::AppState,
    pub notify: notify::AppState,
    pub prewarm: prewarm::AppState,
    /// When `prewarm` runs. `sweep` and `notify` run every minute.
    pub schedule: PrewarmSchedule,
    pub worker: Worker,
}

impl Background {
    /// Runs jobs and schedules until the shutdown, and then ends what it has begun.
    pub async fn drive(&self, shutdown: &Shutdown) {
        tokio::join!(
            repeat(JOBS_EVERY, shutdown, async || {
                job_worker::run(&self.worker, shutdown.limit()).await;
            }),
            repeat(SCHEDULES_EVERY, shutdown, async || self.sweep().await),
            repeat(SCHEDULES_EVERY, shutdown, async || self.notify().await),
            repeat(SCHEDULES_EVERY, shutdown, async || self.prewarm().await),
        );
    }

    async fn sweep(&self) {
        let state = &self.sweep;
        let run = async || sweep::sweep(state.clone(), invocation(sweep::Request::default())).await;
        take_turn(&state.db, "sweep", Ok(None), run).await;
    }

    async fn notify(&self) {
        let state = &self.notify;
        let run =
            async || notify::notify(state.clone(), invocation(notify::Request::default())).await;
        take_turn(&state.db, "notify", Ok(None), run).await;
    }

    async fn prewarm(&self) {
        let state = &self.prewarm;
        let due = match self.schedule.last_due(&state.db).await {
            // The schedule is no time of each day, or its time zone is unknown.
            Ok(None) => return,
            due => due,
        };
        let run =
            async || prewarm::prewarm(state.clone(), invocation(prewarm::Request::default())).await;
        take_turn(&state.db, "prewarm", due, run).await;
    }
}

/// Calls `doing` until the shutdown, also at once: the previous process may have been killed.
async fn repeat(every: Duration, shutdown: &Shutdown, doing: impl AsyncFn()) {
    let mut due = interval(every);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = shutdown.announced() => return,
            _ = due.tick() => doing().await,
        }
    }
}

/// Runs a schedule if it is due and no other instance runs it. A run that fails is still due. The
/// functions log their own results and errors.
async fn take_turn<Done, Failed>(
    db: &Db,
    name: &'static str,
    due: Result<Option<DateTime<Utc>>>,
    run: impl AsyncFnOnce() -> Result<Done, Failed>,
) {
    let turn = async { schedules::take_turn(db, name, due?).await };
    let outcome = match turn.await {
        Ok(None) => return,
        Ok(Some(turn)) => match in_span(name, Box::pin(run())).await {
            Ok(_) => {
                tracing::debug!(schedule = name, due = %turn.due_at(), "schedule finished");
                turn.finish().await
            }
            Err(_) => return,
        },
        Err(err) => Err(err),
    };
    if let Err(err) = outcome {
        let cause = telemetry::chain(&err);
        tracing::warn!(
            schedule = name,
            cause,
            "a schedule could not be read or recorded"
        );
    }
}

/// Runs a schedule in a span of its own, as its invocation on Lambda has one.
async fn in_span<Done, Failed>(
    name: &'static str,
    run: impl Future<Output = Result<Done, Failed>>,
) -> Result<Done, Failed> {
    let span = start_span(Kind::Internal, || name);
    let context = RequestContext::current().with_span(span.clone());
    let outcome = context.scope(run).await;
    if outcome.is_err() {
        span.fail("failed");
    }
    span.end();
    outcome
}

/// An invocation without a deadline.
fn invocation<Event>(event: Event) -> Invocation<Event> {
    Invocation {
        event,
        ends_at: None,
    }
}
