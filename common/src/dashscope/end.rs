//! The time limit of a call.

use std::time::Duration;

use tokio::time::Instant;

use super::error::TimeoutKind;

/// A time limit, and the timeout it belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub(super) at: Instant,
    pub(super) which: TimeoutKind,
}

impl End {
    pub(super) fn of(deadline: Instant, overall: Duration) -> Self {
        Self {
            at: deadline,
            which: TimeoutKind::Deadline,
        }
        .or_sooner(Instant::now() + overall, TimeoutKind::Overall)
    }

    pub(super) fn or_sooner(self, at: Instant, which: TimeoutKind) -> Self {
        if at < self.at {
            Self { at, which }
        } else {
            self
        }
    }
}
