//! What a secret says, read again when somebody refuses it.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use tokio::time::{Instant, timeout};

use crate::platform::error;

/// How long a reading may keep those who wait for it.
const PATIENCE: Duration = Duration::from_secs(2);

/// A value made of a secret. A clone shares it. Each version has an identity, that of its [`Arc`].
pub struct RotatingSecret<T>(Arc<Inner<T>>);

struct Inner<T> {
    /// Absent where nobody can be asked again: what a variable says does not change.
    source: Option<Source<T>>,
    state: Mutex<State<T>>,
}

struct Source<T> {
    /// The variable, for the log.
    name: &'static str,
    /// From one reading to the next.
    pause: Duration,
    read: Box<dyn Fn() -> BoxFuture<'static, Result<T, ReadError>> + Send + Sync>,
}

/// Why a secret could not be read.
pub type ReadError = Box<dyn std::error::Error + Send + Sync>;

struct State<T> {
    value: Arc<T>,
    /// When it was last asked for again. The reading at the start does not count.
    asked: Option<Instant>,
    /// The reading that is under way. Whoever waits drives it, so that it does not end with the
    /// statement or request that began it.
    reading: Option<Shared<BoxFuture<'static, ()>>>,
}

impl<T: Send + Sync + 'static> RotatingSecret<T> {
    /// One that is read again by `read`, at most once in each `pause`.
    pub fn new<Reading>(
        value: T,
        name: &'static str,
        pause: Duration,
        read: impl Fn() -> Reading + Send + Sync + 'static,
    ) -> Self
    where
        Reading: Future<Output = Result<T, ReadError>> + Send + 'static,
    {
        Self::with(
            value,
            Some(Source {
                name,
                pause,
                read: Box::new(move || read().boxed()),
            }),
        )
    }

    fn with(value: T, source: Option<Source<T>>) -> Self {
        let state = State {
            value: Arc::new(value),
            asked: None,
            reading: None,
        };
        Self(Arc::new(Inner {
            source,
            state: Mutex::new(state),
        }))
    }

    /// The newest version that is known.
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.state().value)
    }

    /// What to try instead of a version that was refused: the one that is known by now, or else
    /// what is read now. `None` where the last reading is too recent, or failed: then nothing
    /// but the refused version is known.
    ///
    /// Who was refused for something stored a pause ago or earlier is told of it, whoever else
    /// asks: a reading that comes too soon follows one that has seen it.
    pub async fn refresh_after_rejection(&self, refused: &Arc<T>) -> Option<Arc<T>> {
        if let Some(reading) = self.0.reading(refused) {
            reading.await;
        }
        Some(self.get()).filter(|value| !Arc::ptr_eq(value, refused))
    }
}

impl<T: Send + Sync + 'static> Inner<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reading to wait for, if that can bring another version than the refused one.
    fn reading(self: &Arc<Self>, refused: &Arc<T>) -> Option<Shared<BoxFuture<'static, ()>>> {
        let source = self.source.as_ref()?;
        let mut state = self.state();
        if !Arc::ptr_eq(&state.value, refused) {
            return None;
        }
        if state.reading.is_none() {
            if state.asked.is_some_and(|at| at.elapsed() < source.pause) {
                return None;
            }
            state.asked = Some(Instant::now());
            // Weak, for it is kept in what it changes.
            let (inner, read) = (Arc::downgrade(self), timeout(PATIENCE, (source.read)()));
            state.reading = Some(settle(inner, read).boxed().shared());
        }
        state.reading.clone()
    }
}

/// Keeps what was read, or says why it was not.
async fn settle<T: Send + Sync + 'static>(
    inner: Weak<Inner<T>>,
    read: impl Future<Output = Result<Result<T, ReadError>, tokio::time::error::Elapsed>>,
) {
    let outcome = read.await;
    let Some(inner) = inner.upgrade() else { return };
    let name = inner.source.as_ref().map(|source| source.name);
    let mut state = inner.state();
    state.reading = None;
    match outcome {
        Ok(Ok(value)) => {
            state.value = Arc::new(value);
            tracing::info!(name, "a secret was read again");
        }
        Ok(Err(err)) => {
            let cause = error::chain(&*err);
            tracing::warn!(name, cause, "a secret could not be read again");
        }
        Err(_) => tracing::warn!(name, "a secret could not be read again in time"),
    }
}

/// Where nobody can be asked again.
impl<T: Send + Sync + 'static> From<T> for RotatingSecret<T> {
    fn from(value: T) -> Self {
        Self::with(value, None)
    }
}

impl<T> Clone for RotatingSecret<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Without the value.
impl<T> fmt::Debug for RotatingSecret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RotatingSecret").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::future::{join, join_all};
    use tokio::sync::Semaphore;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    /// Counts how often it is read; each reading waits for a permit, and brings the count.
    struct Counting {
        secret: RotatingSecret<u32>,
        reads: Arc<AtomicU32>,
        permits: Arc<Semaphore>,
    }

    impl Counting {
        fn new(pause: Duration, permits: usize) -> Self {
            let reads = Arc::new(AtomicU32::new(0));
            let permits = Arc::new(Semaphore::new(permits));
            let (counted, gate) = (Arc::clone(&reads), Arc::clone(&permits));
            let secret = RotatingSecret::new(0, "A_SECRET", pause, move || {
                let read = counted.fetch_add(1, Ordering::SeqCst) + 1;
                let gate = Arc::clone(&gate);
                async move {
                    gate.acquire().await.unwrap().forget();
                    Ok(read)
                }
            });
            Self {
                secret,
                reads,
                permits,
            }
        }

        fn reads(&self) -> u32 {
            self.reads.load(Ordering::SeqCst)
        }
    }

    #[tokio::test]
    async fn many_who_are_refused_at_once_wait_for_one_reading() {
        let counting = Counting::new(Duration::ZERO, 0);
        let refused = counting.secret.get();
        let all = join_all((0..100).map(|_| counting.secret.refresh_after_rejection(&refused)));
        let (known, ()) = join(all, async { counting.permits.add_permits(100) }).await;
        assert!(known.iter().all(|value| value.as_deref() == Some(&1)));
        // Nor does who comes later with the old version have it read.
        let known = counting.secret.refresh_after_rejection(&refused).await;
        assert_eq!((known.as_deref(), counting.reads()), (Some(&1), 1));
    }

    #[tokio::test]
    async fn it_is_read_once_in_each_pause_however_often_it_is_refused() {
        for (pause, reads) in [(LONG, 1), (Duration::ZERO, 500)] {
            let counting = Counting::new(pause, 500);
            for _ in 0..500 {
                counting
                    .secret
                    .refresh_after_rejection(&counting.secret.get())
                    .await;
            }
            assert_eq!(counting.reads(), reads);
        }
    }

    #[tokio::test]
    async fn a_reading_outlives_who_began_it() {
        let counting = Counting::new(LONG, 0);
        let refused = counting.secret.get();
        let given_up = counting
            .secret
            .refresh_after_rejection(&refused)
            .now_or_never();
        assert!(given_up.is_none());
        counting.permits.add_permits(1);
        let known = counting.secret.refresh_after_rejection(&refused).await;
        assert_eq!((known.as_deref(), counting.reads()), (Some(&1), 1));
    }

    #[tokio::test]
    async fn a_reading_that_takes_too_long_or_fails_changes_nothing() {
        let counting = Counting::new(LONG, 0);
        let refused = counting.secret.get();
        for _ in 0..3 {
            assert_eq!(
                counting.secret.refresh_after_rejection(&refused).await,
                None
            );
        }
        assert_eq!((*counting.secret.get(), counting.reads()), (0, 1));

        let broken =
            RotatingSecret::new(0, "A_SECRET", LONG, async || Err("no such secret".into()));
        assert_eq!(broken.refresh_after_rejection(&broken.get()).await, None);
        assert_eq!(*broken.get(), 0);
    }

    #[tokio::test]
    async fn what_a_variable_says_is_never_read_again() {
        let fixed = RotatingSecret::from(7);
        assert_eq!(fixed.refresh_after_rejection(&fixed.get()).await, None);
    }

    #[test]
    fn it_does_not_show_its_value() {
        let shown = format!("{:?}", RotatingSecret::from("hunter2"));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
