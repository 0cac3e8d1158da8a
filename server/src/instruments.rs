//! The metrics of this process in the format of Prometheus.
//!
//! Metrics that all functions write come through [`Recorder`]. Those of the server itself are set
//! here. Prometheus adds the instance as a label.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use common::platform::{
    db::Db,
    metrics::{Recorder, Sample},
    version,
};
use prometheus_client::{
    encoding::text,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::Registry,
};
use tokio::time::Instant;

type Labels = Vec<(&'static str, String)>;
type Number = Gauge<f64, AtomicU64>;
type Seconds = Family<Labels, Histogram, fn() -> Histogram>;

/// After this time, gauges of a sweep are left out: another instance sweeps now.
const GAUGES_LAST: Duration = Duration::from_secs(150);

/// Name in CloudWatch, name here, help. The unit in CloudWatch is a count.
const COUNTERS: [(&str, &str, &str); 8] = [
    (
        "UpstreamErrors",
        "upstream_errors",
        "Calls of DashScope that failed",
    ),
    ("Tokens", "tokens", "Tokens charged to budgets"),
    ("CircuitOpened", "circuits_opened", "Circuits that opened"),
    ("CircuitClosed", "circuits_closed", "Circuits that closed"),
    ("Swept", "swept", "Items that sweeps handled"),
    (
        "ModerationBlocked",
        "moderation_blocked",
        "Texts that moderation blocked",
    ),
    (
        "ModerationFailed",
        "moderation_failed",
        "Texts without a verdict",
    ),
    (
        "ModerationSkipped",
        "moderation_skipped",
        "Texts that could not be checked",
    ),
];

/// The same for durations. The unit in CloudWatch is milliseconds.
const DURATIONS: [(&str, &str, &str); 2] = [
    (
        "FirstToken",
        "first_token_seconds",
        "Time until the first text of a chat reply",
    ),
    (
        "UpstreamLatency",
        "upstream_seconds",
        "Time of calls of DashScope",
    ),
];

/// The same for current values, which the instance that sweeps has.
const GAUGES: [(&str, &str, &str); 3] = [
    (
        "QueueAge",
        "job_queue_age_seconds",
        "Time since the oldest unclaimed job became due",
    ),
    (
        "CircuitsOpen",
        "circuits_open",
        "Circuits that are not closed",
    ),
    (
        "BudgetUsed",
        "budget_used_percent",
        "Highest usage of a budget of a site",
    ),
];

/// All metrics. Clones share them.
#[derive(Clone)]
pub(crate) struct Instruments(Arc<Inner>);

struct Inner {
    registry: Registry,
    counters: HashMap<&'static str, Family<Labels, Counter<f64, AtomicU64>>>,
    durations: HashMap<&'static str, Seconds>,
    gauges: HashMap<&'static str, Family<Labels, Number>>,
    /// When a gauge was last set.
    swept_at: Mutex<Option<Instant>>,
    requests: Family<Labels, Counter>,
    request_seconds: Seconds,
    in_progress: Gauge,
    connections: Family<Labels, Gauge>,
}

/// From 1 ms to 262 s.
fn seconds() -> Seconds {
    Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 2.0, 19)))
}

impl Default for Instruments {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("parlor");
        let labels = vec![
            ("version", version::NUMBER.to_owned()),
            ("commit", version::commit().unwrap_or_default().to_owned()),
        ];
        registry.register("build", "Version of this program", Info::new(labels));
        let mut inner = Inner {
            counters: COUNTERS.map(|(key, ..)| (key, Family::default())).into(),
            durations: DURATIONS.map(|(key, ..)| (key, seconds())).into(),
            gauges: GAUGES.map(|(key, ..)| (key, Family::default())).into(),
            swept_at: Mutex::default(),
            requests: Family::default(),
            request_seconds: seconds(),
            in_progress: Gauge::default(),
            connections: Family::default(),
            registry,
        };
        inner.register();
        Self(Arc::new(inner))
    }
}

impl Inner {
    fn register(&mut self) {
        let registry = &mut self.registry;
        for (key, name, help) in COUNTERS {
            registry.register(name, help, self.counters[key].clone());
        }
        for (key, name, help) in DURATIONS {
            registry.register(name, help, self.durations[key].clone());
        }
        for (key, name, help) in GAUGES {
            registry.register(name, help, self.gauges[key].clone());
        }
        let help = "Requests by method, route and status";
        registry.register("http_requests", help, self.requests.clone());
        let help = "Time until the head of a response";
        registry.register("http_request_seconds", help, self.request_seconds.clone());
        let help = "Requests whose response is not complete, such as streams";
        registry.register("http_in_progress", help, self.in_progress.clone());
        let help = "Connections to PostgreSQL by state";
        registry.register("database_connections", help, self.connections.clone());
    }
}

impl Recorder for Instruments {
    fn record(&self, sample: &Sample) {
        let Sample {
            name,
            value,
            labels,
        } = sample;
        let name = name.as_str();
        if let Some(counter) = self.0.counters.get(name) {
            counter.get_or_create(labels).inc_by(*value);
        } else if let Some(histogram) = self.0.durations.get(name) {
            histogram.get_or_create(labels).observe(*value / 1000.0);
        } else if let Some(gauge) = self.0.gauges.get(name) {
            gauge.get_or_create(labels).set(*value);
            *self.swept_at() = Some(Instant::now());
        }
    }
}

impl Instruments {
    /// Counts a response whose head is complete.
    pub fn request(&self, method: &str, route: &str, status: u16, took: Duration) {
        let route = ("route", route.to_owned());
        let labels = vec![
            ("method", method.to_owned()),
            route.clone(),
            ("status", status.to_string()),
        ];
        self.0.requests.get_or_create(&labels).inc();
        let seconds = self.0.request_seconds.get_or_create_owned(&vec![route]);
        seconds.observe(took.as_secs_f64());
    }

    /// Counts a request until the guard is dropped.
    pub fn in_progress(&self) -> InProgress {
        self.0.in_progress.inc();
        InProgress(self.0.in_progress.clone())
    }

    /// All metrics as text.
    pub fn render(&self, db: &Db) -> Result<String, std::fmt::Error> {
        let idle = i64::try_from(db.num_idle()).unwrap_or(i64::MAX);
        let used = i64::from(db.size()) - idle;
        for (state, count) in [("idle", idle), ("used", used)] {
            let labels = vec![("state", state.to_owned())];
            self.0.connections.get_or_create(&labels).set(count.max(0));
        }
        let swept_at = *self.swept_at();
        if swept_at.is_some_and(|at| at.elapsed() > GAUGES_LAST) {
            self.0.gauges.values().for_each(Family::clear);
        }
        let mut text = String::new();
        text::encode(&mut text, &self.0.registry)?;
        Ok(text)
    }

    fn swept_at(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        let swept_at = self.0.swept_at.lock();
        swept_at.unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request in progress.
pub(crate) struct InProgress(Gauge);

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.dec();
    }
}
