//! The gate: pauses streams after an exact number of pieces until a test releases them.

use tokio::sync::watch;

/// One gate for all streams of a simulator.
pub(super) struct Gate {
    state: watch::Sender<State>,
    held: watch::Sender<usize>,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// Pieces that every stream may send. `None` means no limit.
    limit: Option<usize>,
    /// Number of releases. A stream with its own gate waits for the first one after its start.
    releases: u64,
}

/// The gate of one stream, from the scenario `gate:PIECES`.
#[derive(Debug, Clone, Copy)]
pub(super) struct OwnGate {
    after: usize,
    releases: u64,
}

impl Gate {
    pub fn new() -> Self {
        Self {
            state: watch::Sender::default(),
            held: watch::Sender::default(),
        }
    }

    pub fn hold_after(&self, pieces: usize) {
        self.state.send_modify(|state| state.limit = Some(pieces));
    }

    pub fn release(&self) {
        self.state.send_modify(|state| {
            state.limit = None;
            state.releases += 1;
        });
    }

    /// Waits until at least `streams` streams are paused.
    pub async fn held(&self, streams: usize) {
        // The sender is in `self`, so the wait cannot fail.
        self.held
            .subscribe()
            .wait_for(|held| *held >= streams)
            .await
            .ok();
    }

    /// Creates the gate of a stream that begins now.
    pub fn own(&self, after: usize) -> OwnGate {
        OwnGate {
            after,
            releases: self.state.borrow().releases,
        }
    }

    /// Waits until a stream that has sent `sent` pieces may continue.
    pub async fn pass(&self, sent: usize, own: Option<OwnGate>) {
        let open = |state: &State| {
            state.limit.is_none_or(|limit| sent < limit)
                && own.is_none_or(|own| sent < own.after || state.releases > own.releases)
        };
        if open(&self.state.borrow()) {
            return;
        }
        let _held = HeldStream::count(&self.held);
        self.state.subscribe().wait_for(open).await.ok();
    }
}

/// A paused stream. It is counted until dropped, which also happens when its connection breaks.
struct HeldStream<'a>(&'a watch::Sender<usize>);

impl<'a> HeldStream<'a> {
    fn count(held: &'a watch::Sender<usize>) -> Self {
        held.send_modify(|held| *held += 1);
        Self(held)
    }
}

impl Drop for HeldStream<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|held| *held -= 1);
    }
}
