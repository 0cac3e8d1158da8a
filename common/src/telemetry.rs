//! Logs: one JSON object a line, on standard output, where CloudWatch reads them.
//!
//! Messages say what happened, fields say to what. No prompt, answer or token is ever a
//! field: what a person typed is in the database alone.

use tracing_subscriber::{
    EnvFilter, Layer as _, filter::filter_fn, fmt, layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::{
    config::Env,
    metrics::{self, EmbeddedMetrics},
};

/// What is logged unless `RUST_LOG` says otherwise. PostgreSQL's notices are not news.
pub const DEFAULT_FILTER: &str = "info,sqlx=warn";

/// Starts the log. `RUST_LOG` is a directive list such as `info` or `info,sqlx=warn`; one
/// that cannot be read counts as none. `METRICS_NAMESPACE` is what the metrics are found under.
/// Called twice, the second has no effect.
pub fn start(env: &Env) {
    let filter = env.text("RUST_LOG").unwrap_or(DEFAULT_FILTER);
    // Metrics are counted however quiet the log is.
    let filter = EnvFilter::try_new(format!("{filter},{}=info", metrics::TARGET))
        .unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
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

/// An error and its sources, outermost first.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
