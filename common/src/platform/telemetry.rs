//! Logs: one JSON object a line, on standard output, where CloudWatch reads them.
//!
//! Messages say what happened, fields say to what. No prompt, answer or token is ever a
//! field: what a person typed is in the database alone.

use tracing::Level;
use tracing_subscriber::{
    Layer as _,
    filter::{Targets, filter_fn},
    fmt,
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::platform::{
    env::Env,
    metrics::{self, EmbeddedMetrics},
};

pub use crate::platform::error::chain;

/// What is logged unless `RUST_LOG` says otherwise. PostgreSQL's notices are not news.
pub const DEFAULT_FILTER: &str = "info,sqlx=warn";

/// Starts the log. `RUST_LOG` is a directive list such as `info` or `info,sqlx=warn`; one
/// that cannot be read counts as none. `METRICS_NAMESPACE` is what the metrics are found under.
/// Called twice, the second has no effect.
pub fn start(env: &Env) {
    let filter = env.text("RUST_LOG").unwrap_or(DEFAULT_FILTER);
    // Metrics are counted however quiet the log is.
    let filter = targets(filter).with_target(metrics::TARGET, Level::INFO);
    let namespace = env.text("METRICS_NAMESPACE").unwrap_or(metrics::NAMESPACE);
    let json = fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_target(false)
        .with_filter(filter_fn(|event| event.target() != metrics::TARGET));
    let metrics = fmt::layer()
        .event_format(EmbeddedMetrics::new(namespace))
        .with_filter(filter_fn(|event| event.target() == metrics::TARGET));
    tracing_subscriber::registry()
        .with(filter)
        .with(json)
        .with(metrics)
        .try_init()
        .ok();
    // The default hook prints the payload, and a payload may quote what was being handled.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!(place, "panicked");
    }));
}

/// What a list of directives lets through, such as `info,sqlx=warn`; one that cannot be read counts as
/// [`DEFAULT_FILTER`].
pub fn targets(directives: &str) -> Targets {
    let directives = directives.split(',').map(str::trim);
    let directives: Vec<_> = directives.filter(|word| !word.is_empty()).collect();
    directives
        .join(",")
        .parse()
        .or_else(|_| DEFAULT_FILTER.parse())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_directives_says_what_is_logged_and_one_that_cannot_be_read_is_the_default() {
        let directives = " warn, sqlx=error ,common::replies=debug,";
        let filter = targets(directives);
        assert!(filter.would_enable("common", &Level::WARN));
        assert!(!filter.would_enable("common", &Level::INFO));
        assert!(filter.would_enable("common::replies::live", &Level::DEBUG));
        assert!(!filter.would_enable("sqlx::query", &Level::WARN));

        for unreadable in ["info=warn=error", "sqlx=loud"] {
            let filter = targets(unreadable);
            assert!(filter.would_enable("common", &Level::INFO), "{unreadable}");
            assert!(!filter.would_enable("sqlx", &Level::INFO), "{unreadable}");
        }
    }
}
