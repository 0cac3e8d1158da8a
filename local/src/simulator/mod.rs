//! `DashScope` on a laptop: a real HTTP server that speaks the wire of its applications.
//!
//! It knows nothing of Parlor's code, only of the headings that a chat prompt has. By default it
//! answers; a scenario makes it do anything else. A call names its scenario by `[[sim:NAME]]` in
//! the current question (the last one counts, history does not), by the header
//! `x-sim-scenario: NAME`, or by an app id that is or starts with `sim-NAME`. Tests set one with
//! [`Simulator::set_scenario`]. The first of these that says something wins, in this order:
//! question, header, `set_scenario` for the app, app id, `set_scenario` for all (which
//! [`Options::default_scenario`] sets at the start).
//!
#![doc = include_str!("scenarios.md")]
//!
//! # The gate
//!
//! Tests that must stop a stream at an exact piece of text do it without sleeping:
//! [`Simulator::hold_after`]`(n)` stops every stream once it has sent `n` pieces, that is before
//! piece `n + 1`, or before `stop` if there is none; [`Simulator::held`] waits until a stream
//! stands there; [`Simulator::release`] lets all go on. Calling `hold_after` again with a
//! greater number moves them on by as much. The scenario `gate:n` does the same for one call,
//! until the first release after the call began. `POST /sim/release` releases, too.

mod answer;
mod app_answers;
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
pub use scenario::{BadJson, LIST, Scenario, Times, UnknownScenario, Wrapping};
pub use sessions::UnknownSession;
pub use usage::OddUsage;

use shared::Shared;

/// A running server. Dropping it stops it and breaks its connections.
pub struct Simulator {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl Simulator {
    /// Listens on `addr`; port 0 takes a free one. Fails when the port is taken.
    pub async fn start(addr: SocketAddr, options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(options));
        #[expect(
            clippy::disallowed_methods,
            reason = "this is a server, and aborted on drop"
        )]
        let server = tokio::spawn(server::serve(listener, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            server,
        })
    }

    /// What a client takes for `DashScope`: `http://127.0.0.1:PORT/api/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/api/v1", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The last calls (see [`Options::record`]), oldest first, refused ones too.
    pub fn calls(&self) -> Vec<RecordedCall> {
        self.shared.state().records.all()
    }

    /// All calls since the start, recorded or not.
    pub fn calls_count(&self) -> usize {
        *self.shared.calls.borrow()
    }

    /// Waits until there were so many calls.
    pub async fn called(&self, times: usize) {
        self.shared
            .calls
            .subscribe()
            .wait_for(|calls| *calls >= times)
            .await
            .ok();
    }

    /// Makes it behave in this way for an app, or for all, from the next call on; `None` mends it.
    pub fn set_scenario(&self, app_id: Option<&str>, scenario: Option<Scenario>) {
        let mut state = self.shared.state();
        let app_id = app_id.map(str::to_owned);
        match scenario {
            Some(scenario) => state.scenarios.insert(app_id, scenario),
            None => state.scenarios.remove(&app_id),
        };
    }

    /// Takes this key alone from the next call on, as after another was replaced by it; `None`: any key.
    pub fn take_only_key(&self, key: Option<&str>) {
        self.shared.state().only_key = key.map(str::to_owned);
    }

    /// Forgets all sessions, as after an hour.
    pub fn expire_sessions(&self) {
        self.shared.state().sessions.clear();
    }

    /// TCP connections, idle ones included.
    pub fn open_connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Calls whose answer has neither ended nor been given up by the client.
    pub fn active_streams(&self) -> usize {
        *self.shared.active.borrow()
    }

    /// Waits until exactly so many calls are being answered; 0 means that all have ended.
    pub async fn active(&self, streams: usize) {
        self.shared
            .active
            .subscribe()
            .wait_for(|active| *active == streams)
            .await
            .ok();
    }

    /// Stops every stream after `pieces` pieces of text, those under way too.
    pub fn hold_after(&self, pieces: usize) {
        self.shared.gate.hold_after(pieces);
    }

    /// Waits until so many streams, or more, stand at the gate.
    pub async fn held(&self, streams: usize) {
        self.shared.gate.held(streams).await;
    }

    /// Cuts every connection there is, idle ones too, wherever their streams stand; whoever comes
    /// after that is served.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Lets all streams go on, and takes the limit of [`hold_after`](Self::hold_after) away.
    pub fn release(&self) {
        self.shared.gate.release();
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// JSON of a value that has no way to fail: structs of strings and numbers.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
