//! Black-box tests, one binary.

mod emulator;
