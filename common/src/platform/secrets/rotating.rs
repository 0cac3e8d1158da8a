//! The value of a secret, read again after it was rejected.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::{
    sync::{Mutex, watch},
    time::{Instant, timeout},
};

use crate::platform::error;

/// Why a secret could not be read.
pub type ReadError = Box<dyn std::error::Error + Send + Sync>;

/// The timeout of one read.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// A value made from a secret. Clones share it. Each version has its own [`Arc`].
pub struct RotatingSecret<T>(Arc<Inner<T>>);

struct Inner<T> {
    value: watch::Sender<Arc<T>>,
    /// `None` for a plain variable, which does not change.
    source: Option<Source<T>>,
}

/// A read of the secret. `None` if it fails.
type Read<T> = BoxFuture<'static, Option<T>>;

struct Source<T> {
    /// The shortest time from the start of one read to the start of the next.
    pause: Duration,
    read: Box<dyn Fn() -> Read<T> + Send + Sync>,
    /// When the last read began, and the read in progress. The caller that reads keeps this
    /// locked. If that caller is dropped, the next caller finds the read here and continues it.
    last: Mutex<(Option<Instant>, Option<Read<T>>)>,
}

impl<T: Send + 'static> RotatingSecret<T> {
    /// A value that is read again by `read`, at most once in each `pause`. `name` is for the log.
    pub fn new<Reading>(
        value: T,
        name: &'static str,
        pause: Duration,
        read: impl Fn() -> Reading + Send + Sync + 'static,
    ) -> Self
    where
        Reading: Future<Output = Result<T, ReadError>> + Send + 'static,
    {
        let source = Source {
            pause,
            read: Box::new(move || read_in_time(name, read()).boxed()),
            last: Mutex::default(),
        };
        Self(Arc::new(Inner {
            value: watch::Sender::new(Arc::new(value)),
            source: Some(source),
        }))
    }

    /// The newest known version.
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.value.borrow())
    }

    /// Returns a newer version than the rejected one: the current version, or else one that it
    /// reads. `None` if the last read is too recent, or if the read fails.
    ///
    /// A value that was stored at least one `pause` ago is never missed: a read that was too recent
    /// has already seen it.
    pub async fn refresh_after_rejection(&self, rejected: &Arc<T>) -> Option<Arc<T>> {
        let is_newer = |value: &Arc<T>| !Arc::ptr_eq(value, rejected);
        if let (false, Some(source)) = (is_newer(&self.get()), &self.0.source) {
            // With a timeout, because the caller that has the lock may not be polled.
            let mut last = timeout(READ_TIMEOUT, source.last.lock()).await.ok()?;
            let (began, reading) = &mut *last;
            let is_due = began.is_none_or(|at| at.elapsed() >= source.pause);
            if reading.is_none() && is_due && !is_newer(&self.get()) {
                *began = Some(Instant::now());
                *reading = Some((source.read)());
            }
            if let Some(read) = reading {
                let value = read.await;
                *reading = None;
                if let Some(value) = value {
                    self.0.value.send_replace(Arc::new(value));
                }
            }
        }
        Some(self.get()).filter(is_newer)
    }
}

async fn read_in_time<T>(
    name: &str,
    read: impl Future<Output = Result<T, ReadError>>,
) -> Option<T> {
    let cause = match timeout(READ_TIMEOUT, read).await {
        Ok(Ok(value)) => {
            tracing::info!(name, "secret was read again");
            return Some(value);
        }
        Ok(Err(err)) => error::chain(&*err),
        Err(elapsed) => elapsed.to_string(),
    };
    tracing::warn!(name, cause, "secret could not be read again");
    None
}

/// A value that does not change.
impl<T> From<T> for RotatingSecret<T> {
    fn from(value: T) -> Self {
        let value = watch::Sender::new(Arc::new(value));
        Self(Arc::new(Inner {
            value,
            source: None,
        }))
    }
}

impl<T> Clone for RotatingSecret<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Omits the value.
impl<T> fmt::Debug for RotatingSecret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RotatingSecret").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::atomic::{AtomicU32, Ordering},
    };

    use futures_util::future::{join, join_all};
    use tokio::sync::Semaphore;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    /// A secret that counts its reads. Each read waits for a permit and returns the count.
    struct Counting(RotatingSecret<u32>, Arc<(AtomicU32, Semaphore)>);

    impl Counting {
        fn new(pause: Duration, permits: usize) -> Self {
            let shared = Arc::new((AtomicU32::new(0), Semaphore::new(permits)));
            let inner = Arc::clone(&shared);
            let read = move || {
                let inner = Arc::clone(&inner);
                let read = inner.0.fetch_add(1, Ordering::SeqCst) + 1;
                async move {
                    inner.1.acquire().await.unwrap().forget();
                    Ok(read)
                }
            };
            Self(RotatingSecret::new(0, "A_SECRET", pause, read), shared)
        }

        /// What a caller gets after `rejected` was rejected.
        async fn newer(&self, rejected: &Arc<u32>) -> Option<u32> {
            self.0
                .refresh_after_rejection(rejected)
                .await
                .as_deref()
                .copied()
        }

        fn permit(&self) {
            self.1.1.add_permits(1);
        }

        fn reads(&self) -> u32 {
            self.1.0.load(Ordering::SeqCst)
        }
    }

    #[tokio::test]
    async fn callers_rejected_at_once_share_one_read() {
        let secret = Counting::new(Duration::ZERO, 0);
        let rejected = secret.0.get();
        let all = join_all((0..100).map(|_| secret.newer(&rejected)));
        let (newer, ()) = join(all, async { secret.permit() }).await;
        assert_eq!(newer, [Some(1); 100]);
        // A later caller with the old version causes no read either.
        assert_eq!(secret.newer(&rejected).await, Some(1));
        assert_eq!(secret.reads(), 1);
    }

    #[tokio::test]
    async fn secret_is_read_at_most_once_per_pause() {
        for (pause, reads) in [(LONG, 1), (Duration::ZERO, 500)] {
            let secret = Counting::new(pause, 500);
            for _ in 0..500 {
                secret.newer(&secret.0.get()).await;
            }
            assert_eq!(secret.reads(), reads);
        }
    }

    #[tokio::test]
    async fn read_outlives_the_caller_that_began_it() {
        let secret = Counting::new(LONG, 0);
        let rejected = secret.0.get();
        assert_eq!(secret.newer(&rejected).now_or_never(), None);
        secret.permit();
        assert_eq!(secret.newer(&rejected).await, Some(1));
        assert_eq!(secret.reads(), 1);
    }

    #[tokio::test]
    async fn caller_that_is_not_polled_does_not_block_others() {
        let secret = Counting::new(LONG, 0);
        let rejected = secret.0.get();
        let mut first = pin!(secret.newer(&rejected));
        assert_eq!(first.as_mut().now_or_never(), None);
        assert_eq!(secret.newer(&rejected).await, None);
        secret.permit();
        assert_eq!(first.await, Some(1));
    }

    #[tokio::test]
    async fn read_that_times_out_or_fails_changes_nothing() {
        let secret = Counting::new(LONG, 0);
        for _ in 0..3 {
            assert_eq!(secret.newer(&secret.0.get()).await, None);
        }
        assert_eq!((*secret.0.get(), secret.reads()), (0, 1));

        let failing = async || Err(ReadError::from("the secret is missing"));
        let broken = RotatingSecret::new(0, "A_SECRET", LONG, failing);
        assert_eq!(broken.refresh_after_rejection(&broken.get()).await, None);
        assert_eq!(*broken.get(), 0);
    }

    #[tokio::test]
    async fn plain_variable_is_never_read_again() {
        let fixed = RotatingSecret::from(7);
        assert_eq!(fixed.refresh_after_rejection(&fixed.get()).await, None);
    }

    #[test]
    fn debug_output_has_no_value() {
        let shown = format!("{:?}", RotatingSecret::from("hunter2"));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
