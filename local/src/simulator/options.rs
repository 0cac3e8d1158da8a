//! How fast, how forgetful, and with which ids.

use std::time::Duration;

use super::scenario::Scenario;
use super::sessions::UnknownSession;

/// How a simulator behaves as a whole. The default suits tests: no waiting.
#[derive(Debug, Clone)]
pub struct Options {
    /// From the request to the first frame.
    pub latency_to_first_token: Duration,
    /// Pieces of text a second; `None` is as fast as possible.
    pub tokens_per_second: Option<u32>,
    /// For calls that name none.
    pub default_scenario: Option<Scenario>,
    /// What becomes of an unknown or expired session.
    pub unknown_session: UnknownSession,
    /// How long a session lives after its last use.
    pub session_lifetime: Duration,
    /// How many calls a session takes.
    pub session_rounds: u32,
    /// The apps that exist; `None`: all do.
    pub apps: Option<Vec<String>>,
    /// How many calls are remembered; 0 remembers none, and only counts.
    pub record: usize,
    /// Where ids come from.
    pub ids: Ids,
}

/// Session ids (32 hex digits) and request ids (UUIDs).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ids {
    /// New ones each time.
    Random,
    /// Always these, for comparing bytes.
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
    /// A speed that people find natural; only the last hundred calls are kept.
    pub fn laptop() -> Self {
        Self {
            latency_to_first_token: Duration::from_millis(300),
            tokens_per_second: Some(25),
            record: 100,
            ..Self::default()
        }
    }
}
