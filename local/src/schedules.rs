//! What EventBridge Scheduler does in the cloud.

use std::time::Duration;

use common::{db::Db, sweep};
use tokio::time::{MissedTickBehavior, interval};

const EVERY_MINUTE: Duration = Duration::from_secs(60);

/// Drives the schedules for ever, beginning at once: the last run may have been killed.
pub(crate) async fn drive(db: Db) {
    let mut minute = interval(EVERY_MINUTE);
    minute.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        minute.tick().await;
        match sweep::run(&db).await {
            Ok(swept) => tracing::debug!(
                replies = swept.replies,
                partitions = swept.partitions,
                "swept"
            ),
            Err(err) => tracing::warn!(cause = %err, "could not sweep"),
        }
    }
}
