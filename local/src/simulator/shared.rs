//! State that all connections of a simulator share.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use tokio::sync::watch;

use super::gate::Gate;
use super::options::{Ids, Options};
use super::record::{RecordedCall, Records};
use super::scenario::Scenario;
use super::sessions::Sessions;

/// Most questions whose failures are counted. No test uses more at once.
const COUNTED_QUESTIONS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(10_000);

pub(super) struct Shared {
    pub options: Options,
    pub gate: Gate,
    pub active: watch::Sender<usize>,
    pub calls: watch::Sender<usize>,
    pub connections: AtomicUsize,
    /// Number of cuts. A connection ends at the first cut after its start.
    pub cuts: watch::Sender<u64>,
    state: Mutex<State>,
}

/// The mutable state.
pub(super) struct State {
    pub sessions: Sessions,
    pub records: Records,
    /// By app id. `None` is for all apps.
    pub scenarios: HashMap<Option<String>, Scenario>,
    /// The only accepted API key. `None` accepts any.
    pub only_key: Option<String>,
    refusals: LruCache<String, u32>,
}

impl Shared {
    pub fn new(options: Options) -> Self {
        let scenarios = options
            .default_scenario
            .iter()
            .map(|scenario| (None, scenario.clone()));
        let state = State {
            sessions: Sessions::new(options.session_lifetime, options.session_rounds),
            records: Records::new(options.record),
            scenarios: scenarios.collect(),
            only_key: None,
            refusals: LruCache::new(COUNTED_QUESTIONS),
        };
        Self {
            gate: Gate::new(),
            active: watch::Sender::default(),
            calls: watch::Sender::default(),
            connections: AtomicUsize::default(),
            cuts: watch::Sender::default(),
            state: Mutex::new(state),
            options,
        }
    }

    /// Locks the state. Do not keep the guard across an `await`.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, and records it if recording is on.
    pub fn record(&self, call: impl FnOnce() -> RecordedCall) {
        if self.options.record > 0 {
            self.state().records.push(call());
        }
        self.calls.send_modify(|calls| *calls += 1);
    }

    pub fn scenario(&self, app_id: Option<&str>) -> Option<Scenario> {
        let state = self.state();
        if state.scenarios.is_empty() {
            return None;
        }
        state.scenarios.get(&app_id.map(str::to_owned)).cloned()
    }

    pub fn knows_app(&self, app_id: &str) -> bool {
        self.options
            .apps
            .as_ref()
            .is_none_or(|apps| apps.iter().any(|known| known == app_id))
    }

    /// True for the first `times` calls with this key. Then it returns false once, and the count
    /// starts again.
    pub fn refuse_again(&self, key: String, times: u32) -> bool {
        let mut state = self.state();
        let refused = state.refusals.get(&key).copied().unwrap_or_default();
        if refused < times {
            state.refusals.put(key, refused + 1);
            return true;
        }
        state.refusals.pop(&key);
        false
    }

    pub fn session_id(&self) -> String {
        match &self.options.ids {
            Ids::Fixed { session_id, .. } => session_id.clone(),
            Ids::Random => format!("{:032x}", fastrand::u128(..)),
        }
    }

    pub fn request_id(&self) -> String {
        match &self.options.ids {
            Ids::Fixed { request_id, .. } => request_id.clone(),
            Ids::Random => {
                let random = fastrand::u128(..).to_be_bytes();
                uuid::Builder::from_random_bytes(random)
                    .into_uuid()
                    .to_string()
            }
        }
    }
}
