//! Output for the terminal. Logs go to standard error, so that the output of `token` and
//! `openapi` can be piped.

use std::io::Write as _;

use common::platform::{env::Env, metrics, telemetry, traces};
use tracing::Level;
use tracing_subscriber::{
    Layer as _, filter::filter_fn, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

/// Prints a line. Ignores a closed pipe, which `println!` panics on.
pub fn print_line(line: impl AsRef<str>) {
    writeln!(std::io::stdout(), "{}", line.as_ref()).ok();
}

/// Starts a log in plain text, and traces if the environment configures them.
pub fn start_log(env: &Env, filter: &str) {
    let traces = traces::start(env);
    // Metrics are meant for CloudWatch; only their warnings are shown.
    let filter = telemetry::with_statements(telemetry::targets(filter))
        .with_target(metrics::TARGET, Level::WARN);
    let text = fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .compact()
        .with_filter(filter_fn(|event| !telemetry::is_statement(event)));
    tracing_subscriber::registry()
        .with(filter)
        .with(text)
        .with(telemetry::statements())
        .try_init()
        .ok();
    if let Err(err) = traces {
        tracing::error!(cause = telemetry::chain(&err), "traces are off");
    }
}
