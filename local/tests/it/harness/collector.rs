//! A collector of OpenTelemetry on this machine. It reads OTLP over HTTP.

#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value},
    trace::v1::{self, span::SpanKind},
};
use prost::Message as _;

use super::parlor::serve;

/// How a collector responds.
#[derive(Clone, Copy)]
enum Mood {
    Accepts,
    Refuses,
    Hangs,
}

pub struct Collector {
    /// For `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub url: String,
    received: Arc<Mutex<Received>>,
}

#[derive(Default)]
struct Received {
    headers: Vec<HeaderMap>,
    bodies: Vec<Bytes>,
}

/// A span, with its ids in hexadecimal digits and its attributes as text.
#[derive(Clone, Debug)]
pub struct Span {
    pub name: String,
    pub kind: SpanKind,
    pub trace: String,
    pub id: String,
    pub parent: String,
    pub attributes: BTreeMap<String, String>,
    /// Traces and spans that caused this one.
    pub links: Vec<(String, String)>,
    pub is_failed: bool,
    /// Nanoseconds since 1970.
    pub start: u64,
    pub end: u64,
}

impl Collector {
    pub async fn start() -> Self {
        Self::with(Mood::Accepts).await
    }

    /// Responds with an error.
    pub async fn refusing() -> Self {
        Self::with(Mood::Refuses).await
    }

    /// Reads requests and never responds.
    pub async fn hanging() -> Self {
        Self::with(Mood::Hangs).await
    }

    async fn with(mood: Mood) -> Self {
        let received = Arc::new(Mutex::new(Received::default()));
        let router = Router::new()
            .route("/v1/traces", post(receive))
            .with_state((mood, Arc::clone(&received)));
        Self {
            url: serve(router).await,
            received,
        }
    }

    /// The variable that turns traces on.
    pub fn variable(&self) -> (&str, &str) {
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &self.url)
    }

    pub fn requests(&self) -> usize {
        self.received.lock().unwrap().bodies.len()
    }

    /// The headers of the first request.
    pub fn headers(&self) -> HeaderMap {
        self.received.lock().unwrap().headers[0].clone()
    }

    /// True if any request contains this text.
    pub fn has_text(&self, text: &str) -> bool {
        let received = self.received.lock().unwrap();
        let mut bodies = received.bodies.iter();
        bodies.any(|body| body.windows(text.len()).any(|part| part == text.as_bytes()))
    }

    /// Attributes of the process that sent the first request.
    pub fn resource(&self) -> BTreeMap<String, String> {
        let request = self.decoded().swap_remove(0);
        let resource = request.resource_spans[0].resource.clone();
        attributes(&resource.unwrap().attributes)
    }

    /// All spans so far, in the order of their start.
    pub fn spans(&self) -> Vec<Span> {
        let requests = self.decoded().into_iter();
        let resources = requests.flat_map(|request| request.resource_spans);
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        let mut spans: Vec<_> = scopes.flat_map(|scope| scope.spans).map(Span::of).collect();
        spans.sort_by_key(|span| span.start);
        spans
    }

    fn decoded(&self) -> Vec<ExportTraceServiceRequest> {
        let received = self.received.lock().unwrap();
        let bodies = received.bodies.iter();
        bodies
            .map(|body| ExportTraceServiceRequest::decode(&**body).unwrap())
            .collect()
    }
}

async fn receive(
    State((mood, received)): State<(Mood, Arc<Mutex<Received>>)>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    {
        let mut received = received.lock().unwrap();
        received.headers.push(headers);
        received.bodies.push(body);
    }
    match mood {
        Mood::Accepts => StatusCode::OK,
        Mood::Refuses => StatusCode::SERVICE_UNAVAILABLE,
        Mood::Hangs => std::future::pending().await,
    }
}

impl Span {
    fn of(span: v1::Span) -> Self {
        let links = span.links.iter();
        Self {
            kind: span.kind(),
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            attributes: attributes(&span.attributes),
            links: links
                .map(|link| (hex(&link.trace_id), hex(&link.span_id)))
                .collect(),
            is_failed: span.status.is_some_and(|status| status.code == 2),
            start: span.start_time_unix_nano,
            end: span.end_time_unix_nano,
            name: span.name,
        }
    }

    #[track_caller]
    pub fn get(&self, key: &str) -> &str {
        let value = self.attributes.get(key);
        value.unwrap_or_else(|| panic!("{key} of {self:?}"))
    }

    pub fn is_child_of(&self, parent: &Self) -> bool {
        (&self.trace, &self.parent) == (&parent.trace, &parent.id)
    }
}

fn attributes(list: &[KeyValue]) -> BTreeMap<String, String> {
    let pairs = list.iter();
    let pairs = pairs.map(|pair| (pair.key.clone(), text(pair.value.as_ref())));
    let map: BTreeMap<_, _> = pairs.collect();
    assert_eq!(
        map.len(),
        list.len(),
        "each attribute is set once: {list:?}"
    );
    map
}

fn text(value: Option<&AnyValue>) -> String {
    use any_value::Value;
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(is_true)) => is_true.to_string(),
        Some(Value::ArrayValue(list)) => {
            let texts: Vec<_> = list.values.iter().map(|item| text(Some(item))).collect();
            texts.join(",")
        }
        other => panic!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits = |text: String, byte: &u8| text + &format!("{byte:02x}");
    bytes.iter().fold(String::new(), digits)
}
