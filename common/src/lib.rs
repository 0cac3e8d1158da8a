//! Parlor's nouns: their types, their rules and their SQL, one module each.
//!
//! Nothing here knows axum's `Router` or AWS Lambda: those are the functions' business.
//! `dashscope` knows none of the other modules but `outbound`.

pub mod alerts;
pub mod audit;
pub mod batches;
pub mod bots;
pub mod budgets;
pub mod cache;
pub mod conversations;
pub mod facts;
pub mod jobs;
pub mod messages;
pub mod pages;
pub mod replies;
pub mod runs;
pub mod sessions;
pub mod sweep;
pub mod usage;
pub mod vitals;

pub mod apps;
pub mod auth;
mod aws;
pub mod clock;
pub mod config;
pub mod dashscope;
pub mod dates;
pub mod db;
pub mod error;
pub mod http;
pub mod metrics;
pub mod migrations;
pub mod origin;
pub mod outbound;
pub mod paging;
pub mod queue;
pub mod secrets;
pub mod telemetry;

#[cfg(test)]
mod properties;

pub use error::{Error, Result};
