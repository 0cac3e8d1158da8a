//! Parlor in one process: every function's router on one port, with a private PostgreSQL,
//! a DashScope simulator and demo data. It depends on all other crates; none depends on it.

pub mod cloud;
pub mod command;
pub mod demo;
pub mod emulator;
pub mod landing;
pub mod postgres;
pub mod robots;
pub mod scale;
pub mod schedules;
pub mod simulator;

pub use server::gateway;

mod data_dir;
mod database;
mod import;
mod prewarming;
mod serve;
mod terminal;
mod tokens;
