//! The log: one JSON object per line on standard output, where CloudWatch reads it.
//!
//! A message is a constant text. Fields have the details. No field ever contains a prompt, an
//! answer or a token: texts of users are only in the database.
//!
//! [`start`] also turns [traces] on, if they are configured.

mod statements;

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::{
    Layer,
    filter::{Targets, filter_fn},
    fmt,
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::platform::{
    env::Env,
    metrics::{self, EmbeddedMetrics, Recorder, RecordingLayer},
    traces,
};

pub use crate::platform::error::chain;

use self::statements::Statements;

/// The filter without `RUST_LOG`. It drops the notices of PostgreSQL.
pub const DEFAULT_FILTER: &str = "info,sqlx=warn";

/// Starts the log. A second call has no effect.
///
/// `RUST_LOG` is a list of directives, such as `info` or `info,sqlx=warn`. If it is not valid,
/// [`DEFAULT_FILTER`] applies. `METRICS_NAMESPACE` is the CloudWatch namespace of the metrics.
pub fn start(env: &Env) {
    let namespace = env.text("METRICS_NAMESPACE").unwrap_or(metrics::NAMESPACE);
    start_with(env, Some(namespace), None::<RecordingLayer<Nothing>>);
}

/// As [`start`], for a server: metrics go to `recorder`. The log has them only if
/// `METRICS_NAMESPACE` is set.
pub fn start_server(env: &Env, recorder: impl Recorder) {
    let namespace = env.text("METRICS_NAMESPACE");
    start_with(env, namespace, Some(RecordingLayer(recorder)));
}

/// Never used: a type for a recorder that is not there.
enum Nothing {}

impl Recorder for Nothing {
    fn record(&self, _: &metrics::Sample) {}
}

fn start_with(
    env: &Env,
    namespace: Option<&str>,
    recording: Option<RecordingLayer<impl Recorder>>,
) {
    let filter = env.text("RUST_LOG").unwrap_or(DEFAULT_FILTER);
    let traces = traces::start(env);
    // Metrics are written at any log level.
    let filter = with_statements(targets(filter)).with_target(metrics::TARGET, Level::INFO);
    let json = fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_target(false)
        .with_filter(filter_fn(|event| {
            event.target() != metrics::TARGET && !is_statement(event)
        }));
    let embedded = namespace.map(|namespace| {
        fmt::layer()
            .event_format(EmbeddedMetrics::new(namespace))
            .with_filter(filter_fn(|event| event.target() == metrics::TARGET))
    });
    let recording = recording
        .map(|layer| layer.with_filter(filter_fn(|event| event.target() == metrics::TARGET)));
    tracing_subscriber::registry()
        .with(filter)
        .with(json)
        .with(embedded)
        .with(recording)
        .with(statements())
        .try_init()
        .ok();
    if let Err(err) = traces {
        tracing::error!(cause = chain(&err), "traces are off");
    }
    // The default hook prints the panic message, which may quote user data.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!(place, "panicked");
    }));
}

/// Adds the events of statements to a filter, if traces are on.
pub fn with_statements(filter: Targets) -> Targets {
    if traces::are_on() {
        filter.with_target(statements::TARGET, Level::DEBUG)
    } else {
        filter
    }
}

/// The layer that records statements, if traces are on.
pub fn statements<S: Subscriber>() -> Option<impl Layer<S>> {
    traces::are_on().then_some(Statements)
}

/// True for an event that is a statement, which the log never shows.
pub fn is_statement(event: &Metadata<'_>) -> bool {
    event.target() == statements::TARGET
}

/// Parses a list of directives, such as `info,sqlx=warn`. A list that is not valid counts as
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
    fn without_an_endpoint_there_is_neither_a_span_nor_a_layer() {
        let env = Env::from_pairs([
            ("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
            ("OTEL_TRACES_SAMPLER", "always_on"),
        ]);
        traces::start(&env).unwrap();
        assert!(!traces::are_on());
        assert!(statements::<tracing_subscriber::Registry>().is_none());
        assert!(!with_statements(targets("info")).would_enable(statements::TARGET, &Level::DEBUG));
        let name = || -> &str { unreachable!("the name of a span that is not recorded") };
        let parent = traces::Span::default();
        assert!(traces::Span::start(&parent, traces::Kind::Client, name).is_none());
    }

    #[test]
    fn invalid_list_of_directives_is_replaced_by_the_default() {
        let directives = " warn, sqlx=error ,common::replies=debug,";
        let filter = targets(directives);
        assert!(filter.would_enable("common", &Level::WARN));
        assert!(!filter.would_enable("common", &Level::INFO));
        assert!(filter.would_enable("common::replies::live", &Level::DEBUG));
        assert!(!filter.would_enable("sqlx::query", &Level::WARN));

        for invalid in ["info=warn=error", "sqlx=loud"] {
            let filter = targets(invalid);
            assert!(filter.would_enable("common", &Level::INFO), "{invalid}");
            assert!(!filter.would_enable("sqlx", &Level::INFO), "{invalid}");
        }
    }
}
