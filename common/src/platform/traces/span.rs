//! A span, and its place in the trace.

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use http::{HeaderMap, Method};
use opentelemetry::{
    Context, KeyValue, Value,
    propagation::TextMapPropagator as _,
    trace::{
        Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _,
    },
};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{SdkTracer, Span as SdkSpan},
};

use super::TRACES;
use crate::platform::clock;

/// What a span is in the trace.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// The work for a request or an invocation.
    Server,
    /// A call of another service.
    Client,
    /// A part of the work in this process.
    Internal,
}

/// A span, or nothing if traces are off. Clones are the same span. It ends with [`Span::end`], else
/// when the last clone is dropped.
#[derive(Clone, Default)]
pub struct Span(Option<Arc<Recorded>>);

struct Recorded {
    context: SpanContext,
    span: Mutex<SdkSpan>,
}

impl Span {
    /// Starts a span below `parent`. If that is empty, it is the root of a trace.
    pub fn start<Name: Into<Cow<'static, str>>>(
        parent: &Self,
        kind: Kind,
        name: impl FnOnce() -> Name,
    ) -> Self {
        let Some(traces) = TRACES.get() else {
            return Self::default();
        };
        Self::build(&traces.tracer, kind, name().into(), &parent.below())
    }

    /// Starts the span of an HTTP request. A trace of the client (`traceparent`) is continued.
    ///
    /// It has the template of the route and not the path, which may contain a code for sign-in.
    pub fn of_request(method: &Method, route: &str, headers: &HeaderMap) -> Self {
        let Some(traces) = TRACES.get() else {
            return Self::default();
        };
        let parent = TraceContextPropagator::new()
            .extract_with_context(&Context::new(), &HeaderExtractor(headers));
        // Any text may be a method, but names of spans must be few.
        let method = match *method {
            Method::GET
            | Method::HEAD
            | Method::POST
            | Method::PUT
            | Method::PATCH
            | Method::DELETE
            | Method::OPTIONS => method.as_str().to_owned(),
            _ => "_OTHER".to_owned(),
        };
        let name = format!("{method} {route}");
        let span = Self::build(&traces.tracer, Kind::Server, name.into(), &parent);
        span.set("http.request.method", method);
        span.set("http.route", route.to_owned());
        span
    }

    fn build(tracer: &SdkTracer, kind: Kind, name: Cow<'static, str>, parent: &Context) -> Self {
        let builder = SpanBuilder::from_name(name).with_kind(kind.into());
        let span = tracer.build_with_context(builder, parent);
        Self(Some(Arc::new(Recorded {
            context: span.span_context().clone(),
            span: Mutex::new(span),
        })))
    }

    /// Records a call of another service that has just ended.
    pub(in crate::platform) fn record_past(
        parent: &Self,
        name: Cow<'static, str>,
        took: Duration,
        attributes: Vec<KeyValue>,
    ) {
        let Some(traces) = TRACES.get() else { return };
        let end = SystemTime::from(clock::now());
        let mut span = SpanBuilder::from_name(name)
            .with_kind(SpanKind::Client)
            .with_start_time(end.checked_sub(took).unwrap_or(end))
            .with_attributes(attributes)
            .start_with_context(&traces.tracer, &parent.below());
        span.end_with_timestamp(end);
    }

    /// True if traces are off.
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// True if the span will be exported.
    pub fn is_sampled(&self) -> bool {
        self.context().is_some_and(SpanContext::is_sampled)
    }

    fn context(&self) -> Option<&SpanContext> {
        self.0.as_ref().map(|recorded| &recorded.context)
    }

    /// A context whose current span is this one.
    fn below(&self) -> Context {
        match self.context() {
            Some(context) => Context::new().with_remote_span_context(context.clone()),
            None => Context::new(),
        }
    }

    fn recorded(&self) -> Option<MutexGuard<'_, SdkSpan>> {
        let recorded = self.0.as_ref()?;
        let span = recorded.span.lock();
        Some(span.unwrap_or_else(PoisonError::into_inner))
    }

    /// Sets an attribute, once.
    pub fn set(&self, key: &'static str, value: impl Into<Value>) {
        if let Some(mut span) = self.recorded() {
            span.set_attribute(KeyValue::new(key, value));
        }
    }

    /// As [`Self::set`], if there is a value.
    pub fn set_some(&self, key: &'static str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.set(key, value);
        }
    }

    /// Marks the span as failed. `kind` is a code, not a message: messages may quote data.
    pub fn fail(&self, kind: &str) {
        if let Some(mut span) = self.recorded() {
            span.set_attribute(KeyValue::new("error.type", kind.to_owned()));
            span.set_status(Status::error(""));
        }
    }

    /// Adds a link to the span that caused this one, in the form of the header `traceparent`.
    pub fn link(&self, traceparent: &str) {
        let Some(mut span) = self.recorded() else {
            return;
        };
        let mut headers = HeaderMap::new();
        if let Ok(value) = traceparent.parse() {
            headers.insert("traceparent", value);
        }
        let cause = TraceContextPropagator::new()
            .extract_with_context(&Context::new(), &HeaderExtractor(&headers));
        let cause = cause.span().span_context().clone();
        if cause.is_valid() {
            span.add_link(cause, Vec::new());
        }
    }

    /// The place of this span for other services, in the form of the header `traceparent`.
    pub fn traceparent(&self) -> Option<String> {
        let context = self.context()?;
        Some(format!(
            "00-{}-{}-{:02x}",
            context.trace_id(),
            context.span_id(),
            context.trace_flags()
        ))
    }

    /// The id of the trace, for the log.
    pub fn trace_id(&self) -> Option<String> {
        Some(self.context()?.trace_id().to_string())
    }

    /// Ends the span. Later calls change nothing.
    pub fn end(&self) {
        if let Some(mut span) = self.recorded() {
            span.end();
        }
    }
}

impl From<Kind> for SpanKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Server => Self::Server,
            Kind::Client => Self::Client,
            Kind::Internal => Self::Internal,
        }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Span").field(&self.trace_id()).finish()
    }
}
