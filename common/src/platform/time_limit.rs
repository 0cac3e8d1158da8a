//! Until when work may take.
//!
//! Lambda gives the end of an invocation at its start. A server learns its own end with a signal,
//! in the middle of the work.

use std::{future::pending, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// When the work must have ended. The default is never. Clones follow the same shutdown.
#[derive(Clone, Debug, Default)]
pub struct TimeLimit {
    at: Option<Instant>,
    /// The end of the process, once it is known.
    shutdown: Option<watch::Receiver<Option<Instant>>>,
    /// How long before the end of the process this limit is.
    margin: Duration,
}

impl From<Instant> for TimeLimit {
    fn from(at: Instant) -> Self {
        Some(at).into()
    }
}

impl From<Option<Instant>> for TimeLimit {
    fn from(at: Option<Instant>) -> Self {
        Self {
            at,
            ..Self::default()
        }
    }
}

impl TimeLimit {
    /// The limit as known now. `None` if there is none yet.
    pub fn at(&self) -> Option<Instant> {
        let shutdown = self.shutdown.as_ref().and_then(|end| *end.borrow());
        let shutdown = shutdown.map(|at| before(at, self.margin));
        [self.at, shutdown].into_iter().flatten().min()
    }

    /// The same limit, but at `at` if that is earlier.
    #[must_use]
    pub fn no_later_than(mut self, at: Instant) -> Self {
        self.at = Some(self.at.map_or(at, |own| own.min(at)));
        self
    }

    /// This long before the limit.
    #[must_use]
    pub(crate) fn earlier_by(mut self, margin: Duration) -> Self {
        self.at = self.at.map(|at| before(at, margin));
        self.margin += margin;
        self
    }

    /// Waits for the limit, also if it becomes known only meanwhile.
    pub(crate) fn passed(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut limit = self.clone();
        async move {
            loop {
                match limit.at() {
                    Some(at) => tokio::select! {
                        () = sleep_until(at) => return,
                        () = limit.changed() => {}
                    },
                    None => limit.changed().await,
                }
            }
        }
    }

    async fn changed(&mut self) {
        let is_changed = match &mut self.shutdown {
            Some(end) => end.changed().await.is_ok(),
            None => false,
        };
        if !is_changed {
            pending::<()>().await;
        }
    }
}

/// `Instant` has a smallest value.
fn before(at: Instant, margin: Duration) -> Instant {
    at.checked_sub(margin).unwrap_or_else(Instant::now)
}

/// Announces the end of the process to all its work. Clones announce the same end.
#[derive(Clone, Debug)]
pub struct Shutdown(Arc<watch::Sender<Option<Instant>>>);

impl Default for Shutdown {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Shutdown {
    /// The limit of work that ends with the process.
    pub fn limit(&self) -> TimeLimit {
        TimeLimit {
            shutdown: Some(self.0.subscribe()),
            ..TimeLimit::default()
        }
    }

    /// Announces that the process ends at `at`.
    pub fn announce(&self, at: Instant) {
        self.0.send_replace(Some(at));
    }

    /// Waits until the end is announced.
    pub async fn announced(&self) {
        // The sender is `self`, so the channel stays open.
        self.0.subscribe().wait_for(Option::is_some).await.ok();
    }

    /// Waits until no work holds a limit any more.
    pub async fn work_done(&self) {
        self.0.closed().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn the_earliest_limit_applies() {
        let now = Instant::now();
        let shutdown = Shutdown::default();
        assert_eq!(shutdown.limit().at(), None);
        let limit = shutdown.limit().no_later_than(now + 3 * MINUTE);
        let earlier = limit.clone().earlier_by(MINUTE);
        assert_eq!(earlier.at(), Some(now + 2 * MINUTE));
        shutdown.announce(now + 2 * MINUTE);
        assert_eq!(limit.at(), Some(now + 2 * MINUTE));
        assert_eq!(earlier.at(), Some(now + MINUTE));
        assert_eq!(
            TimeLimit::from(now).no_later_than(now + MINUTE).at(),
            Some(now)
        );
    }

    #[tokio::test]
    async fn a_limit_that_becomes_known_later_passes() {
        let shutdown = Shutdown::default();
        let mut passed = Box::pin(shutdown.limit().passed());
        assert_eq!((&mut passed).now_or_never(), None);
        shutdown.announce(Instant::now());
        passed.await;
        assert_eq!(TimeLimit::default().passed().now_or_never(), None);
    }

    #[tokio::test]
    async fn work_is_done_when_its_last_limit_is_dropped() {
        let shutdown = Shutdown::default();
        let limit = shutdown.limit();
        let relay = limit.clone();
        drop(limit);
        assert_eq!(shutdown.work_done().now_or_never(), None);
        drop(relay);
        shutdown.work_done().await;
    }
}
