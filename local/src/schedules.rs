//! Runs the scheduled functions, as EventBridge Scheduler and SQS do in the cloud.

use std::time::Duration;

use chrono::{DateTime, Days, FixedOffset, NaiveTime, TimeZone as _, Utc};
use common::{insights::jobs::Worker, platform::clock};
use lambda::Invocation;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::emulator::{Emulator, Outcome};

/// Interval of sweep and notifications, as in `template.yaml`.
pub const EVERY_MINUTE: Duration = Duration::from_secs(60);
/// Interval of the job worker. It replaces the SQS messages that wake the worker for a new job.
const EVERY_SECOND: Duration = Duration::from_secs(1);
/// Time of the prewarm in Asia/Shanghai, as in `template.yaml`.
pub const PREWARM_AT: NaiveTime = NaiveTime::from_hms_opt(5, 30, 0).expect("a time of day");
const SHANGHAI: FixedOffset = FixedOffset::east_opt(8 * 3600).expect("an offset");

/// Where the scheduled functions run.
#[expect(clippy::large_enum_variant, reason = "there is one value per process")]
pub(crate) enum Workers {
    /// In this process.
    Own {
        sweep: sweep::AppState,
        notify: notify::AppState,
        prewarm: prewarm::AppState,
        worker: Worker,
    },
    /// As the real binaries.
    Emulated(Emulator),
}

/// Runs the schedules forever. Sweep and job worker run immediately, because the previous process
/// may have been killed.
pub(crate) async fn drive(workers: Workers) {
    tokio::join!(
        repeat(EVERY_MINUTE, async || workers.sweep().await),
        repeat(EVERY_MINUTE, async || workers.notify().await),
        repeat(EVERY_SECOND, async || workers.work().await),
        daily(async || workers.prewarm().await),
    );
}

async fn repeat(every: Duration, doing: impl AsyncFn()) {
    let mut due = interval(every);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        doing().await;
    }
}

async fn daily(doing: impl AsyncFn()) {
    loop {
        sleep(until_prewarm(clock::now())).await;
        doing().await;
    }
}

fn until_prewarm(now: DateTime<Utc>) -> Duration {
    let today = now.with_timezone(&SHANGHAI).date_naive();
    [Some(today), today.checked_add_days(Days::new(1))]
        .into_iter()
        .flatten()
        .filter_map(|day| {
            SHANGHAI
                .from_local_datetime(&day.and_time(PREWARM_AT))
                .single()
        })
        .find_map(|at| {
            (at.to_utc() - now)
                .to_std()
                .ok()
                .filter(|left| !left.is_zero())
        })
        .unwrap_or(EVERY_MINUTE)
}

impl Workers {
    async fn sweep(&self) {
        match self {
            // The function logs its own result and errors.
            Self::Own { sweep, .. } => {
                let invocation = by_schedule(sweep::Request::default());
                sweep::sweep(sweep.clone(), invocation).await.ok();
            }
            Self::Emulated(emulator) => invoke(emulator, "sweep").await,
        }
    }

    async fn notify(&self) {
        match self {
            Self::Own { notify, .. } => {
                let invocation = by_schedule(notify::Request::default());
                notify::notify(notify.clone(), invocation).await.ok();
            }
            Self::Emulated(emulator) => invoke(emulator, "notify").await,
        }
    }

    async fn work(&self) {
        match self {
            Self::Own { worker, .. } => {
                let invocation = by_schedule(job_worker::Event::Schedule {});
                job_worker::work(worker.clone(), invocation).await.ok();
            }
            Self::Emulated(emulator) => invoke(emulator, "job-worker").await,
        }
    }

    async fn prewarm(&self) {
        match self {
            Self::Own { prewarm, .. } => {
                let invocation = by_schedule(prewarm::Request::default());
                prewarm::prewarm(prewarm.clone(), invocation).await.ok();
            }
            Self::Emulated(emulator) => invoke(emulator, "prewarm").await,
        }
    }
}

/// An invocation without a deadline.
fn by_schedule<Event>(event: Event) -> Invocation<Event> {
    Invocation {
        event,
        ends_at: None,
    }
}

async fn invoke(emulator: &Emulator, function: &str) {
    match emulator.invoke(function, &json!({})).await {
        Ok(Outcome::Response(_)) => {}
        other => tracing::warn!(function, ?other, "a scheduled function failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prewarm_is_due_at_half_past_five_in_shanghai() {
        let left = |time: &str| until_prewarm(time.parse().unwrap());
        assert_eq!(left("2026-11-21T05:29:59+08:00"), Duration::from_secs(1));
        assert_eq!(
            left("2026-11-21T05:30:00+08:00"),
            Duration::from_secs(86_400)
        );
        assert_eq!(left("2026-11-20T21:30:00Z"), Duration::from_secs(86_400));
        assert_eq!(
            left("2026-12-31T05:31:00+08:00"),
            Duration::from_secs(86_340)
        );
    }
}
