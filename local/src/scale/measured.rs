//! Measured figures. Times and memory are from `docs/benchmarks.json`, so they change with the next
//! benchmark. The others were measured once and are constants.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::command::AnyError;

const BENCHMARKS: &str = include_str!("../../../docs/benchmarks.json");

/// The constants below without another source are of 400 replies through `cargo run -- serve`, 40
/// at once: 200 of 20 s and 400 tokens, and 200 of 2 s and 40 tokens. PostgreSQL 15 with its own
/// settings on 2 cores, commit 1b85a82, 2026-11-29.
///
/// This one is PostgreSQL's CPU time of a reply, divided by the time of the same statements in the
/// benchmark, which repeats one statement on a warm connection. All processes of PostgreSQL used
/// 15.5 ms per long reply and 6.25 ms per short one. The statements take 3.7 and 1.5 ms.
pub const CPU_PER_STATEMENT_TIME: f64 = 4.2;

/// Transactions of a reply besides one per checkpoint, including the read of its conversation.
pub const COMMITS_PER_REPLY: f64 = 4.0;

/// Write-ahead log of a reply, without its checkpoints. Of 80 replies, as is the next one.
pub const WAL_BYTES_PER_REPLY: f64 = 8200.0;

/// Write-ahead log of a checkpoint, of 180 bytes of text, and of its segment's deletion.
pub const WAL_BYTES_PER_CHECKPOINT: f64 = 660.0;

/// Bytes of a message in its table and all indexes, without its text. Of 200,000 messages and
/// 200,000 runs of `cargo run -- demo`, as are the next two.
pub const MESSAGE_BYTES: f64 = 254.0;

/// Bytes of a run in the run log and all indexes, without question and reply.
pub const RUN_BYTES: f64 = 646.0;

/// Bytes of a conversation and its indexes.
pub const CONVERSATION_BYTES: f64 = 565.0;

/// Seconds between two checkpoints of a reply (`CHECKPOINT_EVERY` of `common`).
pub const CHECKPOINT_SECONDS: f64 = 1.5;

/// A figure of the benchmark.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct Figure {
    pub title: String,
    pub what: &'static str,
    pub value: f64,
    pub unit: String,
}

/// The figures that the model uses.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the units are in the names")]
pub struct Measured {
    pub token_cpu_us: Figure,
    pub stream_kib: Figure,
    pub process_mib: Figure,
    pub begin_ms: Figure,
    pub checkpoint_ms: Figure,
    pub finish_ms: Figure,
    pub read_ms: Figure,
}

#[derive(Deserialize)]
struct Subject {
    title: String,
    figures: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    what: String,
    value: f64,
    unit: String,
    floor: Option<f64>,
}

impl Measured {
    /// Reads the figures of `docs/benchmarks.json`, as of the build.
    ///
    /// # Errors
    /// If a figure is missing or has another unit.
    pub fn read() -> Result<Self, AnyError> {
        let subjects: BTreeMap<String, Subject> = serde_json::from_str(BENCHMARKS)?;
        let entry = |subject: &str, what: &str, unit: &str| {
            subjects
                .get(subject)
                .and_then(|subject| {
                    let entry = subject.figures.iter().find(|entry| entry.what == what)?;
                    (entry.unit == unit).then_some((subject, entry))
                })
                .ok_or_else(|| format!("docs/benchmarks.json: {subject} has no {what:?} in {unit}"))
        };
        let value = |subject: &str, what: &'static str, unit: &str| {
            entry(subject, what, unit).map(|(subject, entry)| Figure {
                title: subject.title.clone(),
                what,
                value: entry.value,
                unit: entry.unit.clone(),
            })
        };
        // The floor of a list is its statement alone.
        let what = "messages, page 1, 10.0 million messages, p50";
        let (subject, list) = entry("lists", what, "ms")?;
        let read_ms = Figure {
            title: subject.title.clone(),
            what,
            value: list
                .floor
                .ok_or("docs/benchmarks.json: a list has no floor")?,
            unit: list.unit.clone(),
        };
        Ok(Self {
            token_cpu_us: value("relay", "CPU of a relayed token", "µs")?,
            stream_kib: value("relay", "memory of a stream after 3000 tokens", "KiB")?,
            process_mib: value("memory", "chat-stream", "MiB")?,
            begin_ms: value("reply-sql", "begin, the service has a session", "ms")?,
            checkpoint_ms: value("reply-sql", "checkpoint", "ms")?,
            finish_ms: value("reply-sql", "finish", "ms")?,
            read_ms,
        })
    }
}
