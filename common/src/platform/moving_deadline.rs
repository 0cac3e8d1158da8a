//! A timer for a deadline that moves later with each event, such as a time limit of silence.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// Expires at a deadline that may move.
///
/// A later deadline does not change the timer of the runtime, which takes a lock. At the earlier
/// deadline the task wakes up once and waits again. So a stream that moves its deadline with each
/// token pays for one timer.
#[derive(Debug)]
pub struct MovingDeadline {
    at: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl MovingDeadline {
    /// Expires at `at`.
    pub fn new(at: Instant) -> Self {
        Self {
            at,
            sleep: Box::pin(sleep_until(at)),
        }
    }

    /// Moves the deadline.
    pub fn set(&mut self, at: Instant) {
        self.at = at;
    }

    /// Waits until the deadline. Cancel-safe.
    pub async fn expired(&mut self) {
        poll_fn(|cx| self.poll_expired(cx)).await;
    }

    /// Ready from the deadline on.
    pub fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.at < self.sleep.deadline() {
            self.sleep.as_mut().reset(self.at);
        }
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            if self.at <= self.sleep.deadline() {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(self.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::*;

    const STEP: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn it_expires_at_the_last_deadline_that_was_set() {
        let start = Instant::now();
        let mut deadline = MovingDeadline::new(start + STEP);
        deadline.set(start + 3 * STEP);
        deadline.expired().await;
        assert!(start.elapsed() >= 3 * STEP);
        deadline.set(Instant::now() + 1000 * STEP);
        assert_eq!(deadline.expired().now_or_never(), None);
        deadline.set(Instant::now());
        deadline.expired().await;
    }
}
