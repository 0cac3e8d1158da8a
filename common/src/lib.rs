//! The library behind Parlor's functions: domain types, their rules and their SQL.
//!
//! The folders are layers, listed from the bottom up. A module uses only its own layer and the
//! layers below it. A test checks this by reading the `use` lines.
//!
//! 1. [`platform`]: environment, clock, database, AWS, telemetry, errors. [`dashscope`]: the client
//!    of the upstream service. It does not depend on chats, sites or tables.
//! 2. [`governance`]: runs, usage, budgets, circuit breakers, alerts, audit and authentication.
//! 3. [`moderation`]: checks of the texts of chats, by lists of words and by services.
//! 4. [`insights`]: the apps, the facts in their prompts, their results, and background jobs.
//! 5. [`chat`]: conversations, messages, replies, sessions and bots.
//! 6. [`web`]: HTTP requests, responses and errors.
//!
//! This crate does not use axum's `Router` or AWS Lambda. Only the functions do.

pub mod chat;
pub mod dashscope;
pub mod governance;
pub mod insights;
pub mod moderation;
pub mod platform;
pub mod web;

#[cfg(test)]
mod properties;

pub use platform::error::{Error, Result};
