//! Parlor in one process: all routers on one port, and the background work with its schedules.
//!
//! The program `parlor-server` runs it in production outside Lambda. `local` adds a database, a
//! simulator and demo data for a laptop. Several instances can share one database.

pub mod background;
pub mod command;
pub mod gateway;
pub mod signals;
pub mod state;

mod config;
mod health;
mod instruments;
mod requests;
mod serve;
