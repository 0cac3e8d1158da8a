//! A client for `DashScope` *applications* (`POST {base}/apps/{app_id}/completion`).
//!
//! It only knows the terms of the service: calls, answers, sessions, usage. The caller decides what
//! an answer is for.
//!
//! * [`DashScope::stream`] requests an answer in pieces, [`DashScope::complete`] a whole one.
//! * Failures before the first text are retried as [`Retries`] configures. Later failures are not
//!   retried, because the text would repeat.
//! * If the service rejects the key and the [`KeySource`] has another key, the request is sent
//!   again with that key.
//! * The usage of all tries is summed, also of those that failed ([`Spent`]).
//! * An answer is complete only after the service sent `finish_reason`. A connection that ends
//!   earlier gives [`Error::Truncated`], even if the text looks complete.
//! * Stream requests always set `incremental_output: true`. If the service nevertheless repeats the
//!   text so far, the client recognises that and returns each text once.
//! * [`DashScope::prepare_connection`] opens a connection before a call needs it.
//! * Marks of citations lose their tags: `<ref>[1]</ref>` is returned as `[1]`.
//!
//! The parser of event streams is our own. Existing crates end an event only at a blank line, and
//! drop comments. The service sends the status of an error in a comment.

mod answer;
mod call;
mod client;
mod codes;
mod config;
mod connections;
mod end;
mod error;
mod frames;
mod json;
mod marks;
mod piece;
mod progress;
mod references;
mod retry;
mod span;
mod text;
mod usage;
mod wire;

#[cfg(test)]
mod tests;

pub use answer::{Answer, AnswerStream, Event};
pub use call::{Call, CallOptions};
pub use client::DashScope;
pub use config::{BEIJING, Config, ConfigError, KeySource, Retries, Timeouts};
pub use error::{Error, ErrorDetails, TimeoutKind};
pub use progress::{Progress, ProgressKind, ProgressSender};
pub use references::Reference;
pub use usage::{ModelUsage, Spent, Usage};
