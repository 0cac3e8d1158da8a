//! A client for `DashScope` *applications* (`POST {base}/apps/{app_id}/completion`).
//!
//! It speaks the service's words only: calls, answers, sessions, usage. What an answer is for is
//! its caller's business.
//!
//! * [`DashScope::stream`] asks for an answer in pieces, [`DashScope::complete`] for a whole one.
//! * Failures before the first piece of text are tried again inside, as [`Retries`] says; after it
//!   never, since the text would repeat.
//! * A key that the service refuses is exchanged, where a [`KeySource`] knows another, and the question
//!   asked once more.
//! * An answer is finished when the service says so (`finish_reason`). A connection that just ends
//!   is [`Error::Truncated`], however complete the text looks.
//! * Pieces are taken as they come, one after the other. `incremental_output: true` is always sent,
//!   and a service that ignored it and repeated the text so far could not be told from one whose
//!   next piece happens to repeat it ("1", "10").
//!
//! The reader of event streams is our own because the crates that read them dispatch on blank lines
//! alone, and drop the comments that carry an error's status.

mod answer;
mod call;
mod client;
mod codes;
mod config;
mod end;
mod error;
mod frames;
mod json;
mod retry;
mod usage;
mod wire;

#[cfg(test)]
mod tests;

pub use answer::{Answer, AnswerStream, Event};
pub use call::Call;
pub use client::DashScope;
pub use config::{BEIJING, Config, ConfigError, KeySource, Retries, Timeouts};
pub use error::{Error, ErrorDetails, TimeoutKind};
pub use usage::Usage;
