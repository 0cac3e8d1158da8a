//! Parlor on a laptop.

pub mod emulator;
