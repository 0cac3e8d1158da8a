//! Plays a stream: frame after frame at its speed, through the gate, into whatever goes wrong.

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

/// The connection is cut here: the server ends it without ending the body.
#[derive(Debug, thiserror::Error)]
#[error("the scenario cuts the connection")]
pub(super) struct Cut;

/// One thing to do.
#[derive(Debug)]
enum Step {
    /// A frame without text that adds so many tokens.
    Empty(usize),
    Thought(String),
    Text(String),
    Break(Break),
    /// After half a frame.
    Abort,
    Stop,
}

/// When pieces are due: an absolute schedule, so that a long stream does not drift.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub first_token: Duration,
    pub tokens_per_second: Option<u32>,
}

impl Pace {
    /// When piece number `index` is due, from the start.
    pub fn due(self, index: usize) -> Duration {
        let interval = match self.tokens_per_second {
            Some(rate) if rate > 0 => Duration::from_secs(1) / rate,
            _ => Duration::ZERO,
        };
        self.first_token + interval * u32::try_from(index).unwrap_or(u32::MAX)
    }
}

/// A stream that is being played.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one scenario, in any combination"
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
        // Neither the recorded thoughts nor the recorded workflow begin with an empty frame.
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

    /// The next bytes of the body, and the player for those after them.
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

    /// What a piece of `clock` says.
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

/// The clock that all processes of this machine share, in microseconds.
pub fn monotonic_micros() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1000
}

/// Lets hyper write what it holds: it flushes whenever the body has nothing ready.
pub(super) async fn flush() {
    tokio::task::yield_now().await;
}
