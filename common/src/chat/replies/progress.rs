//! What the application does before its first text, for the client.

use std::{future::pending, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::dashscope::{Progress, ProgressSender};

/// Shortest time between two events.
const EVERY: Duration = Duration::from_secs(1);

/// The progress of all calls of a reply. A change within [`EVERY`] is skipped if another follows.
pub(super) struct ProgressEvents {
    sender: ProgressSender,
    newest: watch::Receiver<Option<Progress>>,
    last: Option<Progress>,
    next_at: Instant,
}

impl ProgressEvents {
    pub fn new() -> Self {
        let (sender, newest) = watch::channel(None);
        Self {
            sender,
            newest,
            last: None,
            next_at: Instant::now(),
        }
    }

    pub fn sender(&self) -> ProgressSender {
        self.sender.clone()
    }

    /// Waits until the progress differs from the one that was returned last. Returns at once if it
    /// does and a second has passed. Cancel-safe.
    pub async fn next(&mut self) -> Progress {
        // A sleep that has already ended still takes up to a millisecond.
        if Instant::now() < self.next_at {
            sleep_until(self.next_at).await;
        }
        let differs = |now: &Option<Progress>| now.is_some() && *now != self.last;
        let newest = self.newest.wait_for(differs).await;
        let Some(progress) = newest.ok().and_then(|progress| progress.clone()) else {
            return pending().await;
        };
        self.last = Some(progress.clone());
        self.next_at = Instant::now() + EVERY;
        progress
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::dashscope::ProgressKind;

    fn node(name: &str) -> Progress {
        Progress {
            kind: ProgressKind::Node,
            name: name.to_owned(),
        }
    }

    #[tokio::test]
    async fn only_changes_are_returned_at_most_once_a_second() {
        let mut events = ProgressEvents::new();
        let sender = events.sender();
        assert_eq!(events.next().now_or_never(), None);
        sender.send_replace(Some(node("a")));
        assert_eq!(events.next().now_or_never(), Some(node("a")));
        for name in ["b", "c"] {
            sender.send_replace(Some(node(name)));
            assert_eq!(events.next().now_or_never(), None);
        }
        events.next_at = Instant::now();
        assert_eq!(events.next().now_or_never(), Some(node("c")));
        events.next_at = Instant::now();
        sender.send_replace(Some(node("c")));
        assert_eq!(events.next().now_or_never(), None);
    }
}
