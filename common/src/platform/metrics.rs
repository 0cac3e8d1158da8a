//! Metrics, written as log events that CloudWatch counts.
//!
//! Functions write them in the [embedded metric format], which CloudWatch extracts from the log. A
//! server passes them to a [`Recorder`]. Other programs write them as ordinary log lines.
//!
//! To add a metric, write a function here with one event of [`TARGET`]. Its fields are `metric`
//! (the name), `unit` (as CloudWatch spells it), `value`, and fields that describe the case. A
//! message is optional.
//!
//! Fields listed in `DIMENSIONS` become dimensions. All others are properties of the log line,
//! which log queries can find. CloudWatch charges for each value of a dimension as for a separate
//! metric. So a field with many values, such as the site, must be a property.
//!
//! [embedded metric format]:
//! https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html

use std::{fmt, time::Duration};

use serde_json::{Map, Value, json};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    layer::Context,
    registry::LookupSpan,
};

use super::clock;

/// The target of an event that is a metric.
pub const TARGET: &str = "metric";

/// The CloudWatch namespace without `METRICS_NAMESPACE`.
pub(crate) const NAMESPACE: &str = "Parlor";

/// The fields that become dimensions.
const DIMENSIONS: [&str; 2] = ["app", "what"];

/// Metrics that CloudWatch also counts without dimensions, for an alarm on all apps together. An
/// alarm can neither search for apps nor list more than ten.
const TOTALS: [&str; 1] = ["UpstreamErrors"];

/// The `code` of an upstream answer without text.
pub(crate) const EMPTY: &str = "empty";

/// `FirstToken` by `app`: the time until the first text of a chat reply.
pub(crate) fn first_token(app: &str, took_ms: i64) {
    tracing::info!(
        target: TARGET, metric = "FirstToken", unit = "Milliseconds", value = took_ms, app
    );
}

/// One call of an app: `UpstreamLatency` by `app`, and `UpstreamErrors` by `app` and in total if
/// DashScope failed. The log line has the `code` of the failure.
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

/// `Tokens` by `app`: the tokens charged to the budget of the site at the end of a run.
pub(crate) fn tokens(app: &str, charged: i64) {
    tracing::info!(
        target: TARGET, metric = "Tokens", unit = "Count", value = charged, app
    );
}

/// `CircuitOpened` or `CircuitClosed` by `app`, if the end of a call changed the circuit. A failed
/// probe counts as opened again.
pub(crate) fn circuit(app: &str, change: Option<&str>) {
    let (name, change) = match change {
        Some(change @ "opened") => ("CircuitOpened", change),
        Some(change @ "closed") => ("CircuitClosed", change),
        _ => return,
    };
    tracing::warn!(target: TARGET, metric = name, unit = "Count", value = 1_u64, app, "circuit {change}");
}

/// `Swept` by `what`: the number of items that a sweep handled, if any.
pub fn swept(what: &str, count: u64) {
    if count > 0 {
        tracing::info!(target: TARGET, metric = "Swept", unit = "Count", value = count, what, "swept");
    }
}

/// `ModerationBlocked`, `ModerationFailed` or `ModerationSkipped` by `what`: a check of moderation
/// that blocked a text, gave no verdict, or could not check the user.
pub(crate) fn moderation(name: &str, what: &str) {
    tracing::info!(target: TARGET, metric = name, unit = "Count", value = 1_u64, what);
}

/// Current values over all sites, for alarms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gauges {
    /// Seconds since the oldest unclaimed job became due; 0 without such a job.
    pub queue_age: f64,
    /// Apps whose circuit is not closed: calls are blocked, or limited to one probe.
    pub circuits_open: i64,
    /// The highest usage of a daily or monthly budget limit, in percent, of sites with usage today.
    ///
    /// Tokens reserved by runs in progress count as used. A limit of 0 is skipped, because it is
    /// intentional.
    pub budget_used: f64,
    /// The site with that usage.
    pub site_id: Option<i64>,
}

/// `QueueAge`, `CircuitsOpen` and `BudgetUsed`. The log line of `BudgetUsed` has the `site_id`.
pub(crate) fn gauges(gauges: &Gauges) {
    tracing::info!(target: TARGET, metric = "QueueAge", unit = "Seconds", value = gauges.queue_age);
    tracing::info!(target: TARGET, metric = "CircuitsOpen", unit = "Count", value = gauges.circuits_open);
    tracing::info!(
        target: TARGET, metric = "BudgetUsed", unit = "Percent", value = gauges.budget_used, site_id = gauges.site_id
    );
}

/// The fields that become labels of a [`Sample`].
const LABELS: [&str; 3] = ["app", "what", "code"];

/// One value of a metric.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "plain data")]
pub struct Sample {
    pub name: String,
    pub value: f64,
    /// Name and value of each label, in a fixed order.
    pub labels: Vec<(&'static str, String)>,
}

/// Keeps the values of the metrics of this process.
pub trait Recorder: Send + Sync + 'static {
    /// Adds a value.
    fn record(&self, sample: &Sample);
}

/// Passes events of [`TARGET`] to a [`Recorder`].
pub(crate) struct RecordingLayer<R>(pub R);

impl<S: Subscriber, R: Recorder> Layer<S> for RecordingLayer<R> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        if let Some(sample) = fields.sample() {
            self.0.record(&sample);
        }
    }
}

/// Formats events of [`TARGET`] in the embedded metric format.
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
        let mut sets: Vec<Vec<_>> = vec![dimensions.into_iter().flatten().collect()];
        if metric.as_str().is_some_and(|name| TOTALS.contains(&name)) {
            sets.push(Vec::new());
        }
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
                    "Dimensions": sets,
                    "Metrics": [{ "Name": metric, "Unit": unit }],
                }],
            }),
        );
        Value::Object(line)
    }

    fn sample(&self) -> Option<Sample> {
        let text = |name| self.0.get(name).and_then(Value::as_str);
        let label = |name| Some((name, text(name)?.to_owned()));
        Some(Sample {
            name: text("metric")?.to_owned(),
            value: self.0.get("value")?.as_f64()?,
            labels: LABELS.into_iter().filter_map(label).collect(),
        })
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

    /// The lines that `work` writes, without their timestamps.
    fn lines(work: impl FnOnce()) -> Vec<Value> {
        let written = Written::default();
        let writer = written.clone();
        let layer = fmt::layer()
            .event_format(EmbeddedMetrics::new("Parlor/test"))
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
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
                "Dimensions": dimensions,
                "Metrics": [{ "Name": name, "Unit": unit }],
            }],
        })
    }

    #[test]
    fn metric_has_the_embedded_metric_format() {
        assert_eq!(
            lines(|| circuit("app1_chat", Some("opened"))),
            [json!({
                "_aws": embedded("CircuitOpened", "Count", &json!([["app"]])),
                "app": "app1_chat",
                "CircuitOpened": 1,
                "message": "circuit opened",
            })]
        );
    }

    #[test]
    fn field_with_many_values_is_a_property() {
        let failed =
            lines(|| upstream("app3_clue", Duration::from_micros(7_900), Some("throttled")));
        assert_eq!(
            failed,
            [
                json!({
                    "_aws": embedded("UpstreamLatency", "Milliseconds", &json!([["app"]])),
                    "app": "app3_clue",
                    "UpstreamLatency": 7,
                }),
                json!({
                    "_aws": embedded("UpstreamErrors", "Count", &json!([["app"], []])),
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
    fn metric_without_dimensions_accepts_any_number() {
        let idle = Gauges {
            queue_age: 0.0,
            circuits_open: 0,
            budget_used: 12.5,
            site_id: Some(7),
        };
        let none = json!([[]]);
        assert_eq!(
            lines(|| gauges(&idle)),
            [
                json!({ "_aws": embedded("QueueAge", "Seconds", &none), "QueueAge": 0.0 }),
                json!({ "_aws": embedded("CircuitsOpen", "Count", &none), "CircuitsOpen": 0 }),
                json!({ "_aws": embedded("BudgetUsed", "Percent", &none), "BudgetUsed": 12.5, "site_id": 7 }),
            ]
        );
    }

    #[derive(Clone, Default)]
    struct Recorded(Arc<Mutex<Vec<Sample>>>);

    impl Recorder for Recorded {
        fn record(&self, sample: &Sample) {
            self.0.lock().unwrap().push(sample.clone());
        }
    }

    #[test]
    fn recorder_gets_values_and_labels() {
        let recorded = Recorded::default();
        let layer = RecordingLayer(recorded.clone());
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            upstream("app3_clue", Duration::from_millis(7), Some("throttled"));
        });
        let app = ("app", "app3_clue".to_owned());
        let latency = Sample {
            name: "UpstreamLatency".to_owned(),
            value: 7.0,
            labels: vec![app.clone()],
        };
        let error = Sample {
            name: "UpstreamErrors".to_owned(),
            value: 1.0,
            labels: vec![app, ("code", "throttled".to_owned())],
        };
        assert_eq!(*recorded.0.lock().unwrap(), [latency, error]);
    }
}
