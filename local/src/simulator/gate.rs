//! The gate: holds streams at an exact piece of text until a test lets them go on.

use tokio::sync::watch;

/// One gate for all streams of a simulator.
pub(super) struct Gate {
    state: watch::Sender<State>,
    held: watch::Sender<usize>,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// Pieces that every stream may send; `None` is no limit.
    limit: Option<usize>,
    /// Grows with each release: a stream with a gate of its own waits for the first after its start.
    releases: u64,
}

/// A stream's own gate, from the scenario `gate:PIECES`.
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

    /// Waits until at least so many streams stand here.
    pub async fn held(&self, streams: usize) {
        // The sender lives in `self`, so the wait cannot fail.
        self.held
            .subscribe()
            .wait_for(|held| *held >= streams)
            .await
            .ok();
    }

    /// A gate of its own for a stream that begins now.
    pub fn own(&self, after: usize) -> OwnGate {
        OwnGate {
            after,
            releases: self.state.borrow().releases,
        }
    }

    /// Returns when a stream that has sent `sent` pieces may go on.
    pub async fn pass(&self, sent: usize, own: Option<OwnGate>) {
        let open = |state: &State| {
            state.limit.is_none_or(|limit| sent < limit)
                && own.is_none_or(|own| sent < own.after || state.releases > own.releases)
        };
        if open(&self.state.borrow()) {
            return;
        }
        let _standing = Standing::at(&self.held);
        self.state.subscribe().wait_for(open).await.ok();
    }
}

/// Counted as held until dropped, which a broken connection does too.
struct Standing<'a>(&'a watch::Sender<usize>);

impl<'a> Standing<'a> {
    fn at(held: &'a watch::Sender<usize>) -> Self {
        held.send_modify(|held| *held += 1);
        Self(held)
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|held| *held -= 1);
    }
}
