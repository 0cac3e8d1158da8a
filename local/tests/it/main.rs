//! Black-box tests in one binary: a harness, and one file per area.
#![expect(
    clippy::unwrap_used,
    reason = "an error fails the test, also in helpers"
)]

mod halves;
mod harness;

mod admin;
mod admin_alerts;
mod admin_cache;
mod admin_dashboard;
mod admin_jobs;
mod admin_runs;
mod admin_settings;
mod apps;
mod background;
mod batches;
mod binaries;
mod bot_access;
mod broken_turns;
mod cache;
mod callers;
mod chat_export;
mod chat_history;
mod chat_manage;
mod chat_messages;
mod chat_resume;
mod chat_search;
mod chat_send;
mod chat_sessions;
mod chat_stop;
mod chat_stream;
mod circuit;
mod clients;
mod connections;
mod content_blocked;
mod cors;
mod documents;
mod emulator;
mod fairness;
mod faults;
mod feedback;
mod functions;
mod gateway_twin;
mod idempotency;
mod job_faults;
mod jobs;
mod laptop;
mod layers;
mod limits;
mod metrics;
mod migration;
mod nul;
mod openapi;
mod outage;
mod pages;
mod pgbouncer;
mod prewarm;
mod queue;
mod readme;
mod recorded;
mod refusals;
mod refusals_at_random;
mod round_trips;
mod routes;
mod schema;
mod secrets;
mod session_replies;
mod simulator;
mod spending;
mod storing;
mod sweep;
mod template;
mod tenants;
mod traces;
mod vitals;
