//! Polls the relay of a reply.
//!
//! While a client on this instance reads the reply, its stream polls the relay, so a token wakes up
//! one task and not two. A task of its own takes the relay over when the client has left, or when
//! it does not read. So the client neither ends a reply nor delays it.
//!
//! The server polls a stream three times per token. The relay is polled only after it was woken up.

use std::{
    future::poll_fn,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{
    FutureExt as _,
    future::BoxFuture,
    task::{ArcWake, AtomicWaker, waker_ref},
};
use tokio::{sync::Notify, time::sleep};
use tracing::Instrument as _;

use crate::platform::request_context::RequestContext;

/// How often it is checked that the client polls. A client that does not is replaced after two
/// to three of these.
const CHECK_EVERY: Duration = Duration::from_millis(if cfg!(test) { 10 } else { 1000 });

/// The client's right to poll the relay. Dropping it tells the task to take over.
pub(super) struct Driver(Arc<Work>);

struct Work {
    /// `None` after the end, or while the task polls it.
    relay: Mutex<Option<BoxFuture<'static, ()>>>,
    /// True if the client has polled since the last check.
    is_polled: AtomicBool,
    wake_up: Arc<WakeUp>,
    client_left: Notify,
}

/// Wakes up the client when the relay can continue.
struct WakeUp {
    can_continue: AtomicBool,
    client: AtomicWaker,
}

impl ArcWake for WakeUp {
    fn wake_by_ref(this: &Arc<Self>) {
        this.can_continue.store(true, Ordering::Release);
        this.client.wake();
    }
}

impl Work {
    fn relay(&self) -> MutexGuard<'_, Option<BoxFuture<'static, ()>>> {
        self.relay.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts a relay. It keeps the request context of the current task. The log span is that of the
/// task which polls: the client's stream has the span of its request.
pub(super) fn start(relay: impl Future<Output = ()> + Send + 'static) -> Driver {
    // A panic must not reach the client's stream, which then reads the database.
    let relay = AssertUnwindSafe(relay).catch_unwind().map(drop);
    let work = Arc::new(Work {
        relay: Mutex::new(Some(RequestContext::current().scope(relay).boxed())),
        is_polled: AtomicBool::new(false),
        wake_up: Arc::new(WakeUp {
            can_continue: AtomicBool::new(true),
            client: AtomicWaker::new(),
        }),
        client_left: Notify::new(),
    });
    #[expect(
        clippy::disallowed_methods,
        reason = "a reply outlives its request; its stream keeps the Lambda function running"
    )]
    tokio::spawn(take_over(Arc::clone(&work)).in_current_span());
    Driver(work)
}

/// Waits until the client does not poll the relay, then does so itself.
async fn take_over(work: Arc<Work>) {
    let mut is_woken = false;
    loop {
        tokio::select! {
            () = work.client_left.notified() => break,
            () = sleep(CHECK_EVERY) => {}
        }
        if work.relay().is_none() {
            return;
        }
        if work.is_polled.swap(false, Ordering::Relaxed) {
            is_woken = false;
        } else if is_woken {
            break;
        } else {
            // Perhaps DashScope sends nothing. A client that can read then polls once.
            is_woken = true;
            work.wake_up.client.wake();
        }
    }
    let relay = work.relay().take();
    if let Some(relay) = relay {
        relay.await;
    }
}

impl Driver {
    /// Lets the relay begin, up to its first wait.
    pub async fn poll_once(&mut self) {
        poll_fn(|cx| {
            self.poll(cx);
            Poll::Ready(())
        })
        .await;
    }

    /// Polls the relay if it can continue, unless the task has taken it over.
    pub fn poll(&mut self, cx: &mut Context<'_>) {
        let work = &self.0;
        work.is_polled.store(true, Ordering::Relaxed);
        // Before the flag is read, so that no wake-up is missed.
        work.wake_up.client.register(cx.waker());
        if !work.wake_up.can_continue.swap(false, Ordering::AcqRel) {
            return;
        }
        let mut relay = work.relay();
        if let Some(running) = relay.as_mut() {
            let waker = waker_ref(&work.wake_up);
            let mut cx = Context::from_waker(&waker);
            if Pin::new(running).poll(&mut cx).is_ready() {
                *relay = None;
            }
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.client_left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use futures_util::task::noop_waker_ref;
    use tokio::sync::oneshot;

    use super::*;

    /// A relay that waits, and what reports its end.
    fn waiting_relay() -> (impl Future<Output = ()> + Send, oneshot::Receiver<()>) {
        let (ended, end) = oneshot::channel();
        let relay = async move {
            sleep(2 * CHECK_EVERY).await;
            ended.send(()).ok();
        };
        (relay, end)
    }

    #[tokio::test]
    async fn a_client_that_reads_polls_the_relay() {
        let (relay, mut end) = waiting_relay();
        let mut driver = start(relay);
        poll_fn(|cx| {
            driver.poll(cx);
            end.poll_unpin(cx).map(drop)
        })
        .await;
        assert!(driver.0.relay().is_none());
    }

    #[tokio::test]
    async fn a_relay_whose_client_has_left_continues() {
        let (relay, end) = waiting_relay();
        drop(start(relay));
        assert_eq!(end.await, Ok(()));
    }

    #[tokio::test]
    async fn a_relay_whose_client_does_not_read_continues() {
        let (relay, end) = waiting_relay();
        let mut driver = start(relay);
        driver.poll(&mut Context::from_waker(noop_waker_ref()));
        assert_eq!(end.await, Ok(()));
    }

    #[tokio::test]
    async fn a_relay_is_polled_only_after_it_was_woken_up() {
        let polls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&polls);
        let mut driver = start(poll_fn(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Poll::Pending
        }));
        let mut cx = Context::from_waker(noop_waker_ref());
        for _ in 0..3 {
            driver.poll(&mut cx);
        }
        assert_eq!(polls.load(Ordering::Relaxed), 1);
        ArcWake::wake_by_ref(&driver.0.wake_up);
        driver.poll(&mut cx);
        assert_eq!(polls.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_panic_does_not_reach_the_client() {
        let mut driver = start(async { panic!("a fault of the relay") });
        driver.poll(&mut Context::from_waker(noop_waker_ref()));
    }
}
