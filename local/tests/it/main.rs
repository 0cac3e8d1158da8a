//! Black-box tests, one binary: a harness, and one file per noun.

mod harness;

mod chat_history;
mod chat_messages;
mod chat_send;
mod chat_stream;
mod emulator;
mod simulator;
mod sweep;
