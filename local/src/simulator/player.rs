//! Plays a stream: frame after frame at its speed, with gates and failures.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::frames::Writer;
use super::gate::OwnGate;
use super::plan::{Break, Leading, Plan};
use super::server::ActiveStream;
use super::shared::Shared;

/// Ends the connection without ending the body.
#[derive(Debug, thiserror::Error)]
#[error("the scenario cuts the connection")]
pub(super) struct Cut;

/// One step of a stream.
#[derive(Debug)]
enum Step {
    /// A frame without text that adds tokens.
    Empty(usize),
    Thought(String),
    Text(String),
    Break(Break),
    /// Cuts the connection after half a frame.
    Abort,
    Stop,
}

/// The times of the pieces, relative to the start of the stream, so that a long stream does not
/// drift.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub first_token: Duration,
    pub tokens_per_second: Option<u32>,
}

impl Pace {
    /// Time from the start of the stream to piece number `index`.
    pub fn due(self, index: usize) -> Duration {
        let interval = match self.tokens_per_second {
            Some(rate) if rate > 0 => Duration::from_secs(1) / rate,
            _ => Duration::ZERO,
        };
        self.first_token + interval * u32::try_from(index).unwrap_or(u32::MAX)
    }
}

/// A running stream.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent scenarios that can be combined"
)]
pub(super) struct Player {
    shared: Arc<Shared>,
    pace: Pace,
    gate: Option<OwnGate>,
    thinking: bool,
    workflow: bool,
    byte_by_byte: bool,
    clock: bool,
    writer: Writer,
    _active: ActiveStream,
    steps: VecDeque<Step>,
    started: Instant,
    sent: usize,
    paced: usize,
    bytes: Bytes,
}

/// The steps of a plan.
pub(super) struct Script(VecDeque<Step>);

impl Script {
    pub fn new(plan: &Plan, thought: Vec<String>, pieces: Vec<String>) -> Self {
        let mut steps = VecDeque::new();
        let Leading { frames, tokens } = plan.leading;
        // The recordings with thoughts or workflow messages do not begin with an empty frame.
        if !plan.thoughts && !plan.workflow {
            steps.extend((0..frames).map(|_| Step::Empty(tokens)));
        }
        steps.extend(thought.into_iter().map(Step::Thought));
        let count = pieces.len();
        let broken = plan
            .broken
            .as_ref()
            .map(|(after, what)| ((*after).min(count), what));
        for (index, piece) in pieces.into_iter().enumerate() {
            if let Some((after, what)) = broken
                && after == index
            {
                steps.push_back(Step::Break(what.clone()));
            }
            steps.push_back(Step::Text(piece));
        }
        if let Some((after, what)) = broken
            && after == count
        {
            steps.push_back(Step::Break(what.clone()));
        }
        if !plan.no_stop {
            steps.push_back(Step::Stop);
        }
        Self(steps)
    }
}

impl Player {
    pub fn new(
        shared: Arc<Shared>,
        plan: &Plan,
        pace: Pace,
        writer: Writer,
        script: Script,
        active: ActiveStream,
    ) -> Self {
        Self {
            gate: plan.gate.map(|after| shared.gate.own(after)),
            shared,
            pace,
            thinking: plan.thoughts,
            workflow: plan.workflow,
            byte_by_byte: plan.byte_by_byte,
            clock: plan.clock,
            writer,
            _active: active,
            steps: script.0,
            started: Instant::now(),
            sent: 0,
            paced: 0,
            bytes: Bytes::new(),
        }
    }

    /// Returns the next bytes of the body, and the player for the following ones.
    pub async fn next(mut self) -> Option<(Result<Bytes, Cut>, Self)> {
        if self.byte_by_byte {
            if self.bytes.is_empty() {
                match self.step().await? {
                    Ok(bytes) => self.bytes = bytes,
                    Err(cut) => return Some((Err(cut), self)),
                }
            }
            flush().await;
            let byte = self.bytes.split_to(1);
            return Some((Ok(byte), self));
        }
        let bytes = self.step().await?;
        Some((bytes, self))
    }

    async fn step(&mut self) -> Option<Result<Bytes, Cut>> {
        let bytes = match self.steps.pop_front()? {
            Step::Empty(tokens) => {
                self.wait_until_due().await;
                self.writer.empty(tokens)
            }
            Step::Thought(piece) => {
                self.wait_until_due().await;
                self.paced += 1;
                self.writer.thought(&piece)
            }
            Step::Text(piece) => self.text(&piece).await,
            Step::Break(Break::Error(refusal)) => {
                self.steps.clear();
                self.writer.error(&refusal)
            }
            Step::Break(Break::Stall) => std::future::pending().await,
            Step::Break(Break::Garbage) => self.writer.garbage(),
            Step::Break(Break::Cut) => {
                let whole = match self.steps.pop_front() {
                    Some(Step::Text(piece)) => self.text(&piece).await,
                    _ => self.writer.stop(),
                };
                self.steps = VecDeque::from([Step::Abort]);
                whole.slice(..whole.len() / 2)
            }
            Step::Abort => {
                flush().await;
                return Some(Err(Cut));
            }
            Step::Stop => {
                self.shared.gate.pass(self.sent, self.gate).await;
                if self.workflow {
                    self.writer.node(None)
                } else {
                    self.writer.stop()
                }
            }
        };
        Some(Ok(bytes))
    }

    async fn text(&mut self, piece: &str) -> Bytes {
        self.wait_until_due().await;
        self.shared.gate.pass(self.sent, self.gate).await;
        let now = self.clock.then(|| self.now());
        let piece = now.as_deref().unwrap_or(piece);
        self.sent += 1;
        self.paced += 1;
        if self.workflow {
            self.writer.node(Some(piece))
        } else {
            self.writer.text(piece, self.thinking)
        }
    }

    /// The text of a piece in the scenario `clock`.
    fn now(&self) -> String {
        let late = self
            .started
            .elapsed()
            .saturating_sub(self.pace.due(self.paced));
        format!("@{}+{};", monotonic_micros(), late.as_micros())
    }

    async fn wait_until_due(&self) {
        let due = self.pace.due(self.paced);
        if !due.is_zero() {
            tokio::time::sleep_until(self.started + due).await;
        }
    }
}

/// The monotonic clock in microseconds, which all processes of this machine share.
pub fn monotonic_micros() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1000
}

/// Lets hyper write its buffer. It flushes when the body has nothing ready.
pub(super) async fn flush() {
    tokio::task::yield_now().await;
}
