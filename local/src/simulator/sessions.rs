//! Sessions: conversations that the service remembers. An id has 32 hex digits.

use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

use super::refusal::Refusal;

/// Most sessions that are remembered, enough for any load test. Older ones expire.
const REMEMBERED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(100_000);

/// How a call with an unknown or expired session is handled. DashScope does not document this.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UnknownSession {
    /// A new session starts.
    #[default]
    StartFresh,
    /// HTTP 400 `InvalidParameter`.
    Refuse,
}

/// The remembered sessions.
pub(super) struct Sessions {
    by_id: LruCache<String, Session>,
    lifetime: Duration,
    rounds: u32,
}

struct Session {
    app_id: String,
    rounds: u32,
    last_used: Instant,
}

impl Sessions {
    /// A session expires `lifetime` after its last use, or after `rounds` calls.
    pub fn new(lifetime: Duration, rounds: u32) -> Self {
        Self {
            by_id: LruCache::new(REMEMBERED),
            lifetime,
            rounds,
        }
    }

    /// Continues a session and returns the number of this round, at least 2. `None` if the session
    /// is unknown or expired.
    pub fn find(&mut self, app_id: &str, id: &str) -> Option<u32> {
        let (lifetime, most) = (self.lifetime, self.rounds);
        let session = self.by_id.get_mut(id)?;
        let alive = session.app_id == app_id
            && session.rounds < most
            && session.last_used.elapsed() < lifetime;
        if !alive {
            return None;
        }
        session.rounds += 1;
        session.last_used = Instant::now();
        Some(session.rounds)
    }

    /// Starts a session with its first round.
    pub fn start(&mut self, app_id: &str, id: &str) {
        let session = Session {
            app_id: app_id.to_owned(),
            rounds: 1,
            last_used: Instant::now(),
        };
        self.by_id.put(id.to_owned(), session);
    }

    /// Deletes all sessions.
    pub fn clear(&mut self) {
        self.by_id.clear();
    }
}

/// The error for [`UnknownSession::Refuse`].
pub(super) fn refusal() -> Refusal {
    Refusal::new(
        400,
        "InvalidParameter",
        "The session is invalid or has expired.",
    )
}
