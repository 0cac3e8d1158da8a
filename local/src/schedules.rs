//! Schedules of the emulated functions, as EventBridge Scheduler and SQS invoke them in the cloud.
//!
//! The functions in this process have those of [`server::background`].

use std::time::Duration;

use chrono::{DateTime, Days, FixedOffset, NaiveTime, TimeZone as _, Utc};
use common::platform::clock;
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

/// Runs the schedules forever. Sweep and job worker run immediately, because the previous process
/// may have been killed.
pub(crate) async fn drive(emulator: &Emulator) {
    tokio::join!(
        repeat(EVERY_MINUTE, async || invoke(emulator, "sweep").await),
        repeat(EVERY_MINUTE, async || invoke(emulator, "notify").await),
        repeat(EVERY_SECOND, async || invoke(emulator, "job-worker").await),
        daily(async || invoke(emulator, "prewarm").await),
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
