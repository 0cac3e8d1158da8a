//! Output for the terminal. Logs go to standard error, so that the output of `token` and
//! `openapi` can be piped.

use std::io::Write as _;

use common::platform::{metrics, telemetry};
use tracing::Level;
use tracing_subscriber::{fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// Prints a line. Ignores a closed pipe, which `println!` panics on.
pub fn print_line(line: impl AsRef<str>) {
    writeln!(std::io::stdout(), "{}", line.as_ref()).ok();
}

/// Starts a log in plain text.
pub fn start_log(filter: &str) {
    // Metrics are meant for CloudWatch; only their warnings are shown.
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
