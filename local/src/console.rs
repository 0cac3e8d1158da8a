//! What a person at a terminal is told. Logs go to standard error, so that the output of
//! `token` and `openapi` can be piped.

use std::io::Write as _;

use common::metrics;
use tracing_subscriber::EnvFilter;

/// Prints a line. A closed pipe is not worth a panic.
pub fn say(line: impl AsRef<str>) {
    writeln!(std::io::stdout(), "{}", line.as_ref()).ok();
}

/// Starts a log that people can read.
pub fn start_log(filter: &str) {
    // What is counted for CloudWatch is no news to a person, unless it is a warning.
    let filter = EnvFilter::try_new(format!("{filter},{}=warn", metrics::TARGET))
        .unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .compact()
        .try_init()
        .ok();
}
