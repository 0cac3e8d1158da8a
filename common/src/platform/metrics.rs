//! Metrics: events of the log that CloudWatch counts.
//!
//! In a function they are written in the [embedded metric format], which CloudWatch reads out
//! of the log by itself; anywhere else they are lines of the log like others.
//!
//! To add one, write a function here with one event of [`TARGET`]: the fields `metric` (its name), `unit` (as CloudWatch
//! spells it) and `value`, a message if it needs one, and what it is told apart by. Of that, only what is in
//! `DIMENSIONS` becomes a dimension; everything else is a property of the line, which queries of the log find. Each value of a
//! dimension is a metric of its own, which is paid for: what has many values, as a site has, is a property.
//!
//! [embedded metric format]: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html

use std::{fmt, time::Duration};

use serde_json::{Map, Value, json};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use super::clock;

/// What marks an event as a metric.
pub const TARGET: &str = "metric";

/// What all metrics are found under, unless `METRICS_NAMESPACE` says otherwise.
pub(crate) const NAMESPACE: &str = "Parlor";

/// The fields of a metric that CloudWatch tells it apart by.
const DIMENSIONS: [&str; 2] = ["app", "what"];

/// The `code` of an answer without text.
pub(crate) const EMPTY: &str = "empty";

/// How long the first words of a reply of the chat took: `FirstToken` by `app`.
pub(crate) fn first_token(app: &str, took_ms: i64) {
    tracing::info!(
        target: TARGET, metric = "FirstToken", unit = "Milliseconds", value = took_ms, app
    );
}

/// One call of an app: `UpstreamLatency` by `app`, and `UpstreamErrors` where DashScope failed it, of which the line says the `code`.
pub(crate) fn upstream(app: &str, took: Duration, failure: Option<&str>) {
    tracing::info!(
        target: TARGET, metric = "UpstreamLatency", unit = "Milliseconds", value = clock::millis(took), app
    );
    if let Some(code) = failure {
        tracing::info!(
            target: TARGET, metric = "UpstreamErrors", unit = "Count", value = 1_u64, app, code
        );
    }
}

/// What the end of a run charged the site's budget with: `Tokens` by `app`.
pub(crate) fn tokens(app: &str, charged: i64) {
    tracing::info!(
        target: TARGET, metric = "Tokens", unit = "Count", value = charged, app
    );
}

/// What the end of a call did to the circuit of its app, if anything: `CircuitOpened` (again, too, after a probe
/// that failed) or `CircuitClosed`, by `app`.
pub(crate) fn circuit(app: &str, change: Option<&str>) {
    let (name, change) = match change {
        Some(change @ "opened") => ("CircuitOpened", change),
        Some(change @ "closed") => ("CircuitClosed", change),
        _ => return,
    };
    tracing::warn!(target: TARGET, metric = name, unit = "Count", value = 1_u64, app, "circuit {change}");
}

/// How many of something a sweep found to do, by `what`.
pub fn swept(what: &str, count: u64) {
    if count > 0 {
        tracing::info!(target: TARGET, metric = "Swept", unit = "Count", value = count, what, "swept");
    }
}

/// How all sites are at this minute: what alarms watch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gauges {
    /// For how many seconds the oldest job has been due that no worker has claimed; 0 where none is.
    pub queue_age: f64,
    /// Apps that may not be asked, or by one call alone, because they failed.
    pub circuits_open: i64,
    /// The most that a site has used of a limit of its budget, of the day or of the month, in percent; of those that
    /// asked anything today. What runs under way hold is used. A limit of 0 is meant, and counts as none.
    pub budget_used: f64,
    /// The site that has.
    pub site_id: Option<i64>,
}

/// How all sites are at this minute: `QueueAge`, `CircuitsOpen` and `BudgetUsed`, whose line says whose (`site_id`).
pub(crate) fn gauges(gauges: &Gauges) {
    tracing::info!(target: TARGET, metric = "QueueAge", unit = "Seconds", value = gauges.queue_age);
    tracing::info!(target: TARGET, metric = "CircuitsOpen", unit = "Count", value = gauges.circuits_open);
    tracing::info!(
        target: TARGET, metric = "BudgetUsed", unit = "Percent", value = gauges.budget_used, site_id = gauges.site_id
    );
}

/// Writes the events of [`TARGET`].
pub(crate) struct EmbeddedMetrics {
    namespace: String,
}

impl EmbeddedMetrics {
    pub fn new(namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
        }
    }
}

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
        let line = fields.embedded(&self.namespace, clock::unix_millis());
        writeln!(writer, "{line}")
    }
}

#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn embedded(mut self, namespace: &str, timestamp: i64) -> Value {
        let unit = self.0.remove("unit");
        let value = self.0.remove("value");
        let metric = self.0.remove("metric").unwrap_or_default();
        let dimensions = DIMENSIONS.map(|name| self.0.contains_key(name).then_some(name));
        let dimensions: Vec<_> = dimensions.into_iter().flatten().collect();
        let mut line = self.0;
        if let (Some(name), Some(value)) = (metric.as_str(), value) {
            line.insert(name.to_owned(), value);
        }
        line.insert(
            "_aws".to_owned(),
            json!({
                "Timestamp": timestamp,
                "CloudWatchMetrics": [{
                    "Namespace": namespace,
                    "Dimensions": [dimensions],
                    "Metrics": [{ "Name": metric, "Unit": unit }],
                }],
            }),
        );
        Value::Object(line)
    }

    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::{fmt, layer::SubscriberExt as _};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written meanwhile, line by line, without the time.
    fn lines(meanwhile: impl FnOnce()) -> Vec<Value> {
        let written = Written::default();
        let writer = written.clone();
        let layer = fmt::layer()
            .event_format(EmbeddedMetrics::new("Parlor/test"))
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), meanwhile);
        let bytes = written.0.lock().unwrap().clone();
        let lines = String::from_utf8(bytes).unwrap();
        let lines = lines.lines().map(|line| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            let timestamp = line["_aws"].as_object_mut().unwrap().remove("Timestamp");
            assert!(timestamp.unwrap().is_i64());
            line
        });
        lines.collect()
    }

    fn embedded(name: &str, unit: &str, dimensions: &Value) -> Value {
        json!({
            "CloudWatchMetrics": [{
                "Namespace": "Parlor/test",
                "Dimensions": [dimensions],
                "Metrics": [{ "Name": name, "Unit": unit }],
            }],
        })
    }

    #[test]
    fn a_metric_is_what_cloudwatch_reads() {
        assert_eq!(
            lines(|| circuit("app1_chat", Some("opened"))),
            [json!({
                "_aws": embedded("CircuitOpened", "Count", &json!(["app"])),
                "app": "app1_chat",
                "CircuitOpened": 1,
                "message": "circuit opened",
            })]
        );
    }

    #[test]
    fn what_has_many_values_is_a_property_and_no_dimension() {
        let failed =
            lines(|| upstream("app3_clue", Duration::from_micros(7_900), Some("throttled")));
        assert_eq!(
            failed,
            [
                json!({
                    "_aws": embedded("UpstreamLatency", "Milliseconds", &json!(["app"])),
                    "app": "app3_clue",
                    "UpstreamLatency": 7,
                }),
                json!({
                    "_aws": embedded("UpstreamErrors", "Count", &json!(["app"])),
                    "app": "app3_clue",
                    "code": "throttled",
                    "UpstreamErrors": 1,
                }),
            ]
        );
        assert_eq!(
            lines(|| upstream("app3_clue", Duration::ZERO, None)).len(),
            1
        );
    }

    #[test]
    fn a_metric_may_have_no_dimension_at_all_and_any_number_as_its_value() {
        let idle = Gauges {
            queue_age: 0.0,
            circuits_open: 0,
            budget_used: 12.5,
            site_id: Some(7),
        };
        let none = json!([]);
        assert_eq!(
            lines(|| gauges(&idle)),
            [
                json!({ "_aws": embedded("QueueAge", "Seconds", &none), "QueueAge": 0.0 }),
                json!({ "_aws": embedded("CircuitsOpen", "Count", &none), "CircuitsOpen": 0 }),
                json!({ "_aws": embedded("BudgetUsed", "Percent", &none), "BudgetUsed": 12.5, "site_id": 7 }),
            ]
        );
    }
}
