//! What a person at a terminal is told. Logs go to standard error, so that the output of
//! `token` and `openapi` can be piped.

use std::io::Write as _;

use common::platform::{metrics, telemetry};
use tracing::Level;
use tracing_subscriber::{fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// Prints a line. A closed pipe is not worth a panic.
pub fn say(line: impl AsRef<str>) {
    writeln!(std::io::stdout(), "{}", line.as_ref()).ok();
}

/// Starts a log that people can read.
pub fn start_log(filter: &str) {
    // What is counted for CloudWatch is no news to a person, unless it is a warning.
    let filter = telemetry::targets(filter).with_target(metrics::TARGET, Level::WARN);
    let text = fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .compact();
    tracing_subscriber::registry()
        .with(filter)
        .with(text)
        .try_init()
        .ok();
}
