//! A `DashScope` simulator: an HTTP server with the wire format of DashScope applications.
//!
//! It does not use Parlor's code and only knows the headings of chat prompts. By default it returns
//! an ordinary reply. A scenario makes it fail or behave differently.
//!
//! The scenario of a call is the first of these that is set:
//! 1. `[[sim:NAME]]` in the current question. The last one counts; history does not.
//! 2. The header `x-sim-scenario: NAME`.
//! 3. [`Simulator::set_scenario`] for the app.
//! 4. An app id that is or starts with `sim-NAME`.
//! 5. [`Simulator::set_scenario`] for all apps, or [`Options::default_scenario`].
//!
#![doc = include_str!("scenarios.md")]
//!
//! # The gate
//!
//! Tests can pause a stream at an exact piece of text, without sleeping:
//! - [`Simulator::hold_after`]`(n)` pauses every stream after `n` pieces: before piece `n + 1`, or
//!   before the `stop` frame if there is no such piece. A later call with a greater number lets the
//!   streams continue to that piece.
//! - [`Simulator::held`] waits until streams are paused.
//! - [`Simulator::release`] or `POST /sim/release` lets all streams continue.
//! - The scenario `gate:n` pauses one call, until the first release after the call began.

mod app_answers;
mod chat_reply;
pub mod command;
mod facts;
mod frames;
mod gate;
mod options;
mod pieces;
mod plain;
mod plan;
mod player;
mod question;
mod record;
mod recording;
mod refusal;
mod request;
mod respond;
mod scenario;
mod server;
mod sessions;
mod shared;
mod usage;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use options::{Ids, Options};
pub use player::monotonic_micros;
pub use record::RecordedCall;
pub use recording::Recording;
pub use scenario::{BadJson, LIST, Scenario, Times, UnknownScenario, Wrapping};
pub use sessions::UnknownSession;
pub use usage::OddUsage;

use shared::Shared;

/// A running server. Dropping it stops the server and closes its connections.
pub struct Simulator {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl Simulator {
    /// Listens on `addr`. Port 0 selects a free port. Fails if the port is in use.
    pub async fn start(addr: SocketAddr, options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(options));
        #[expect(
            clippy::disallowed_methods,
            reason = "the server task is aborted on drop"
        )]
        let server = tokio::spawn(server::serve(listener, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            server,
        })
    }

    /// Base URL for clients: `http://127.0.0.1:PORT/api/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/api/v1", self.address)
    }

    /// The address that the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The last calls, oldest first, including refused ones. [`Options::record`] limits them.
    pub fn calls(&self) -> Vec<RecordedCall> {
        self.shared.state().records.all()
    }

    /// Number of all calls since the start, recorded or not.
    pub fn calls_count(&self) -> usize {
        *self.shared.calls.borrow()
    }

    /// Waits until there were at least `times` calls since the start.
    pub async fn called(&self, times: usize) {
        self.shared
            .calls
            .subscribe()
            .wait_for(|calls| *calls >= times)
            .await
            .ok();
    }

    /// Sets the scenario of an app, or of all apps (`None`), from the next call on. A scenario of
    /// `None` removes it.
    pub fn set_scenario(&self, app_id: Option<&str>, scenario: Option<Scenario>) {
        let mut state = self.shared.state();
        let app_id = app_id.map(str::to_owned);
        match scenario {
            Some(scenario) => state.scenarios.insert(app_id, scenario),
            None => state.scenarios.remove(&app_id),
        };
    }

    /// Accepts only this API key from the next call on, as after a rotation. `None`: any key.
    pub fn take_only_key(&self, key: Option<&str>) {
        self.shared.state().only_key = key.map(str::to_owned);
    }

    /// Deletes all sessions, as the service does after an hour.
    pub fn expire_sessions(&self) {
        self.shared.state().sessions.clear();
    }

    /// Number of TCP connections, including idle ones.
    pub fn open_connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Number of calls whose response has not ended. A call ends when its client disconnects.
    pub fn active_streams(&self) -> usize {
        *self.shared.active.borrow()
    }

    /// Waits until exactly `streams` calls are active; 0 means that all have ended.
    pub async fn active(&self, streams: usize) {
        self.shared
            .active
            .subscribe()
            .wait_for(|active| *active == streams)
            .await
            .ok();
    }

    /// Pauses every stream after `pieces` pieces of text, including those that have begun.
    pub fn hold_after(&self, pieces: usize) {
        self.shared.gate.hold_after(pieces);
    }

    /// Waits until at least `streams` streams are paused.
    pub async fn held(&self, streams: usize) {
        self.shared.gate.held(streams).await;
    }

    /// Cuts all existing connections at once, including idle ones. New connections work.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Lets all streams continue and removes the limit of [`hold_after`](Self::hold_after).
    pub fn release(&self) {
        self.shared.gate.release();
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Serializes a struct of strings and numbers, which cannot fail.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
