//! Sessions: a conversation that the service remembers, known by 32 hex digits.

use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

use super::refusal::Refusal;

/// Enough for any load test; what is older is forgotten, as after an hour.
const REMEMBERED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(100_000);

/// What becomes of a call whose session is unknown or has expired. The service does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UnknownSession {
    /// It is answered under a new id.
    #[default]
    StartFresh,
    /// HTTP 400 `InvalidParameter`.
    Refuse,
}

/// The sessions that are alive.
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
    /// Sessions that live for `lifetime` after their last use and for at most `rounds` calls.
    pub fn new(lifetime: Duration, rounds: u32) -> Self {
        Self {
            by_id: LruCache::new(REMEMBERED),
            lifetime,
            rounds,
        }
    }

    /// Continues a session and says which round this is, from 2 on; `None` if it is not alive.
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

    /// Remembers a session whose first round this is.
    pub fn start(&mut self, app_id: &str, id: &str) {
        let session = Session {
            app_id: app_id.to_owned(),
            rounds: 1,
            last_used: Instant::now(),
        };
        self.by_id.put(id.to_owned(), session);
    }

    /// Forgets them all.
    pub fn clear(&mut self) {
        self.by_id.clear();
    }
}

/// The answer to an expired session where the service refuses it.
pub(super) fn refusal() -> Refusal {
    Refusal::new(
        400,
        "InvalidParameter",
        "The session is invalid or has expired.",
    )
}
