//! What EventBridge Scheduler does in the cloud.

use std::time::Duration;

use lambda::Invocation;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use crate::emulator::{Emulator, Outcome};

const EVERY_MINUTE: Duration = Duration::from_secs(60);

/// Who does what is scheduled.
pub(crate) enum Workers {
    /// This process.
    Own { sweep: sweep::Tools },
    /// The real binaries.
    Emulated(Emulator),
}

/// Drives the schedules for ever, beginning at once: the last run may have been killed.
pub(crate) async fn drive(workers: Workers) {
    let mut minute = interval(EVERY_MINUTE);
    minute.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        minute.tick().await;
        workers.sweep().await;
    }
}

impl Workers {
    async fn sweep(&self) {
        match self {
            // What it did, or why it did not, it has logged itself.
            Self::Own { sweep } => {
                let invocation = Invocation {
                    event: sweep::Request::default(),
                    ends_at: None,
                };
                sweep::sweep(sweep.clone(), invocation).await.ok();
            }
            Self::Emulated(emulator) => match emulator.invoke("sweep", &json!({})).await {
                Ok(Outcome::Response(_)) => {}
                other => tracing::warn!(?other, "sweep failed"),
            },
        }
    }
}
