//! Parlor's nouns: their types, their rules and their SQL.
//!
//! The folders are layers, from the bottom up. A module uses its own layer and those below it; a
//! test reads the `use` lines and fails otherwise.
//!
//! 1. [`platform`]: environment, clock, database, AWS, telemetry, errors. [`dashscope`]: the client
//!    of the upstream service; it knows nothing of chats, sites or tables.
//! 2. [`governance`]: runs, usage, budgets, circuits, alerts, audit, and who may call.
//! 3. [`insights`]: the apps, the facts they are asked about, their results, and background jobs.
//! 4. [`chat`]: conversations, messages, replies, sessions and bots.
//! 5. [`web`]: requests, responses and errors as HTTP has them.
//!
//! Nothing here knows axum's `Router` or AWS Lambda: the functions do.

pub mod chat;
pub mod dashscope;
pub mod governance;
pub mod insights;
pub mod platform;
pub mod web;

#[cfg(test)]
mod properties;

pub use platform::error::{Error, Result};
