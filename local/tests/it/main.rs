//! Black-box tests, one binary: a harness, and one file per noun.
#![expect(
    clippy::unwrap_used,
    reason = "what cannot be unwrapped fails the test, here as in a test's own body"
)]

mod harness;

mod chat_history;
mod chat_messages;
mod chat_send;
mod chat_stream;
mod emulator;
mod openapi;
mod simulator;
mod sweep;
mod template;
