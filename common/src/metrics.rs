//! Metrics: events of the log that CloudWatch counts.
//!
//! In a function they are written in the [embedded metric format], which CloudWatch reads out
//! of the log by itself; anywhere else they are lines of the log like others.
//!
//! [embedded metric format]: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html

use std::fmt;

use serde_json::{Map, Value, json};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use crate::{apps::App, clock};

/// What marks an event as a metric.
pub(crate) const TARGET: &str = "metric";

/// What all metrics are found under.
const NAMESPACE: &str = "Parlor";

/// What the end of a call did to the circuit of its app, if anything: `CircuitOpened` (again, too, after a probe
/// that failed) or `CircuitClosed`, by `app`.
pub fn circuit(app: App, change: Option<&str>) {
    let (name, change) = match change {
        Some(change @ "opened") => ("CircuitOpened", change),
        Some(change @ "closed") => ("CircuitClosed", change),
        _ => return,
    };
    tracing::warn!(target: TARGET, metric = name, unit = "Count", value = 1_u64, app = app.name(), "circuit {change}");
}

/// How many of something a sweep found to do, by `what`.
pub fn swept(what: &str, count: u64) {
    if count > 0 {
        tracing::info!(target: TARGET, metric = "Swept", unit = "Count", value = count, what, "swept");
    }
}

/// Writes the events of [`TARGET`]: the fields `metric`, `unit` and `value` are the metric,
/// `message` says it in words, and what else there is are its dimensions.
pub(crate) struct EmbeddedMetrics;

impl<S, N> FormatEvent<S, N> for EmbeddedMetrics
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        writeln!(writer, "{}", fields.embedded(clock::unix_millis()))
    }
}

#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn embedded(mut self, timestamp: i64) -> Value {
        let message = self.0.remove("message");
        let unit = self.0.remove("unit");
        let value = self.0.remove("value");
        let metric = self.0.remove("metric").unwrap_or_default();
        let dimensions: Vec<_> = self.0.keys().cloned().collect();
        let mut line = self.0;
        if let (Some(name), Some(value)) = (metric.as_str(), value) {
            line.insert(name.to_owned(), value);
        }
        line.extend(message.map(|message| ("message".to_owned(), message)));
        line.insert(
            "_aws".to_owned(),
            json!({
                "Timestamp": timestamp,
                "CloudWatchMetrics": [{
                    "Namespace": NAMESPACE,
                    "Dimensions": [dimensions],
                    "Metrics": [{ "Name": metric, "Unit": unit }],
                }],
            }),
        );
        Value::Object(line)
    }
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0
            .insert(field.name().to_owned(), format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_what_cloudwatch_reads() {
        let fields = [
            ("metric", json!("CircuitOpened")),
            ("unit", json!("Count")),
            ("value", json!(1)),
            ("app", json!("app1_chat")),
            ("message", json!("circuit opened")),
        ];
        let fields = Fields(
            fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        );
        assert_eq!(
            fields.embedded(1_700_000_000_000),
            json!({
                "_aws": {
                    "Timestamp": 1_700_000_000_000_i64,
                    "CloudWatchMetrics": [{
                        "Namespace": "Parlor",
                        "Dimensions": [["app"]],
                        "Metrics": [{ "Name": "CircuitOpened", "Unit": "Count" }],
                    }],
                },
                "app": "app1_chat",
                "CircuitOpened": 1,
                "message": "circuit opened",
            })
        );
    }
}
