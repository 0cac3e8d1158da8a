//! Options of a simulator.

use std::time::Duration;

use super::scenario::Scenario;
use super::sessions::UnknownSession;

/// Options of a simulator. The default is for tests: it adds no delay.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "plain data")]
pub struct Options {
    /// Time from the request to the first frame.
    pub latency_to_first_token: Duration,
    /// Pieces of text per second. `None` is as fast as possible.
    pub tokens_per_second: Option<u32>,
    /// The scenario of calls that do not select one.
    pub default_scenario: Option<Scenario>,
    pub unknown_session: UnknownSession,
    /// A session expires so long after its last use.
    pub session_lifetime: Duration,
    /// Most calls in a session.
    pub session_rounds: u32,
    /// Known app ids. `None` means that all are known.
    pub apps: Option<Vec<String>>,
    /// Most calls that are recorded. Calls are also counted if it is 0.
    pub record: usize,
    pub ids: Ids,
}

/// Session ids (32 hex digits) and request ids (UUIDs).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ids {
    /// A new random id each time.
    Random,
    /// Always the same ids, for comparing bytes.
    Fixed {
        /// For each new session.
        session_id: String,
        /// For each call.
        request_id: String,
    },
}

impl Default for Options {
    fn default() -> Self {
        Self {
            latency_to_first_token: Duration::ZERO,
            tokens_per_second: None,
            default_scenario: None,
            unknown_session: UnknownSession::StartFresh,
            session_lifetime: Duration::from_hours(1),
            session_rounds: 50,
            apps: None,
            record: 10_000,
            ids: Ids::Random,
        }
    }
}

impl Options {
    /// A natural speed for `serve`. Only the last 100 calls are recorded.
    pub fn laptop() -> Self {
        Self {
            latency_to_first_token: Duration::from_millis(300),
            tokens_per_second: Some(25),
            record: 100,
            ..Self::default()
        }
    }
}
