//! The request, invocation or message that the current task works for.
//!
//! The context is task-local, so functions do not pass it as a parameter. It reaches spawned tasks
//! ([`RequestContext::scope`]), DashScope and the job queue.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::task::futures::TaskLocalFuture;
use tracing::{Instrument as _, instrument::Instrumented};

use crate::platform::{
    clock,
    traces::{Kind, Span},
};

const X_AMZN_TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");
/// Longest accepted header, in bytes. Headers of AWS are much shorter.
const MAX_LENGTH: usize = 512;

tokio::task_local! {
    static CURRENT: RequestContext;
}

/// Request id and trace of the current work. The default has neither.
#[derive(Clone, Debug, Default)]
pub struct RequestContext {
    request_id: Option<Arc<str>>,
    trace: Option<Trace>,
    /// Milliseconds spent in calls to DashScope. All clones share the counter.
    upstream: Arc<AtomicI64>,
    /// The span above those that begin in this context.
    span: Span,
}

impl RequestContext {
    /// The context of a request or invocation.
    pub fn new(request_id: &str, trace: Option<Trace>) -> Self {
        Self {
            request_id: Some(request_id.into()),
            trace,
            upstream: Arc::default(),
            span: Span::default(),
        }
    }

    /// This context with another current span.
    #[must_use]
    pub fn with_span(self, span: Span) -> Self {
        Self { span, ..self }
    }

    /// The context of the current task, or an empty one.
    pub fn current() -> Self {
        CURRENT.try_with(Self::clone).unwrap_or_default()
    }

    /// Reads the context of the current task, if it has one.
    pub(crate) fn with_current<T>(read: impl FnOnce(&Self) -> T) -> Option<T> {
        CURRENT.try_with(read).ok()
    }

    /// Calls `work` in this context.
    pub(crate) fn enter<T>(self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, work)
    }

    /// The current span. It is empty if traces are off.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// Runs `work` in this context. A task spawned by `work` needs its own scope.
    pub fn scope<Work: Future>(self, work: Work) -> TaskLocalFuture<Self, Work> {
        CURRENT.scope(self, work)
    }

    /// The id of the request or invocation, for the log.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// The root of the X-Ray trace, else the id of the OpenTelemetry trace, for the log.
    pub fn trace_id(&self) -> Option<Cow<'_, str>> {
        match &self.trace {
            Some(trace) => Some(trace.root().into()),
            None => self.span.trace_id().map(Into::into),
        }
    }

    /// The trace to pass on to other services.
    pub(crate) fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }

    /// The trace as the value of an HTTP header.
    pub(crate) fn trace_value(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(self.trace()?.header()).ok()
    }

    /// Adds the time of a call to DashScope, at least 1 ms.
    pub(crate) fn add_upstream_time(&self, took: Duration) {
        let millis = clock::millis(took).max(1);
        self.upstream.fetch_add(millis, Ordering::Relaxed);
    }

    /// Milliseconds spent in calls to DashScope so far. `None` if there was no call.
    pub(crate) fn upstream_ms(&self) -> Option<i64> {
        Some(self.upstream.load(Ordering::Relaxed)).filter(|millis| *millis > 0)
    }
}

/// Starts a span below the current one. Without a current one, it is the root of a trace.
pub fn start_span<Name: Into<Cow<'static, str>>>(kind: Kind, name: impl FnOnce() -> Name) -> Span {
    let parent = RequestContext::with_current(|context| context.span.clone());
    Span::start(&parent.unwrap_or_default(), kind, name)
}

/// Wraps `work` for a new task: it keeps the context and the log span of the current task.
pub(crate) fn in_current_context<Work: Future>(
    work: Work,
) -> Instrumented<TaskLocalFuture<RequestContext, Work>> {
    RequestContext::current().scope(work).in_current_span()
}

/// Runs work that a message started. If the message has a trace, it replaces the current one.
pub async fn follow<Work: Future>(trace: Option<Trace>, work: Work) -> Work::Output {
    let mut origin = RequestContext::current();
    if let Some(trace) = trace {
        tracing::Span::current().record("trace_id", trace.root());
        origin.trace = Some(trace);
    }
    origin.scope(work).await
}

/// A trace header of AWS X-Ray, such as
/// `Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1`.
///
/// Only `Root`, `Parent` and `Sampled` are kept, because the text goes into headers and logs.
/// Lambda adds other fields. With `Lineage` in a message, Lambda would treat a worker that wakes
/// itself as a recursive loop, and stop it after 16 invocations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    header: String,
    root: String,
}

impl Trace {
    /// Parses a header. Returns `None` if it has no valid root.
    pub fn parse(header: &str) -> Option<Self> {
        if header.len() > MAX_LENGTH {
            return None;
        }
        let value = |name: &str, is_valid: fn(&str) -> bool| {
            let parts = header.split(';').filter_map(|part| part.split_once('='));
            let mut named = parts.filter(|(key, _)| key.trim() == name);
            named
                .next()
                .map(|(_, value)| value.trim())
                .filter(|value| is_valid(value))
        };
        let root = value("Root", is_root)?;
        let mut kept = format!("Root={root}");
        if let Some(parent) = value("Parent", |parent| is_hex(parent, 16)) {
            kept.extend([";Parent=", parent]);
        }
        if let Some(sampled) = value("Sampled", |sampled| matches!(sampled, "0" | "1")) {
            kept.extend([";Sampled=", sampled]);
        }
        Some(Self {
            header: kept,
            root: root.to_owned(),
        })
    }

    /// The trace in the headers of a request.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        Self::parse(headers.get(X_AMZN_TRACE_ID)?.to_str().ok()?)
    }

    /// The id that all parts of one trace share.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The header to pass on.
    pub fn header(&self) -> &str {
        &self.header
    }
}

/// Version, time (8 hex digits) and random part (24 hex digits).
fn is_root(text: &str) -> bool {
    text.strip_prefix("1-")
        .and_then(|rest| rest.split_once('-'))
        .is_some_and(|(time, random)| is_hex(time, 8) && is_hex(random, 24))
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "1-5759e988-bd862e3fe1be46a994272793";

    #[test]
    fn only_known_fields_of_a_trace_header_are_kept() {
        let kept = |header: &str| Trace::parse(header).map(|trace| trace.header);
        for (header, expected) in [
            (format!("Root={ROOT}"), format!("Root={ROOT}")),
            (
                format!("Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1;Lineage=1:a87bd80c:0"),
                format!("Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1"),
            ),
            (
                format!("Self=1-67891234-12456789abcdef012345678; Root={ROOT} ;Sampled=?"),
                format!("Root={ROOT}"),
            ),
            (
                format!("Sampled=0;Parent=;Root={ROOT};Root=x"),
                format!("Root={ROOT};Sampled=0"),
            ),
        ] {
            assert_eq!(kept(&header), Some(expected), "{header}");
        }
        assert_eq!(Trace::parse(&format!("Root={ROOT}")).unwrap().root(), ROOT);
    }

    #[test]
    fn invalid_trace_header_is_none() {
        for header in [
            "",
            "Root",
            "Root=",
            "Root=1-5759e988",
            "Root=2-5759e988-bd862e3fe1be46a994272793",
            "Root=1-5759e988-bd862e3fe1be46a99427279",
            "Root=1-5759e988-bd862e3fe1be46a99427279\u{e9}",
            "Root=1-5759e988-bd862e3fe1be46a994272793\r\nX: y",
            "root=1-5759e988-bd862e3fe1be46a994272793",
            "Root=x;Root=1-5759e988-bd862e3fe1be46a994272793",
            "1-5759e988-bd862e3fe1be46a994272793",
            &format!("Root={ROOT};{}", "x".repeat(MAX_LENGTH)),
        ] {
            assert_eq!(Trace::parse(header), None, "{header}");
        }
    }

    #[tokio::test]
    async fn task_sees_its_context_and_clones_share_the_upstream_time() {
        assert_eq!(RequestContext::current().request_id(), None);
        let origin = RequestContext::new("r-1", Trace::parse(&format!("Root={ROOT}")));
        origin
            .clone()
            .scope(async {
                let current = RequestContext::current();
                assert_eq!(
                    (current.request_id(), current.trace_id().as_deref()),
                    (Some("r-1"), Some(ROOT))
                );
                current.add_upstream_time(Duration::from_millis(7));
                let other = Trace::parse("Root=1-00000000-000000000000000000000000");
                follow(other.clone(), async move {
                    let current = RequestContext::current();
                    assert_eq!(current.request_id(), Some("r-1"));
                    assert_eq!(current.trace(), other.as_ref());
                    current.add_upstream_time(Duration::from_millis(3));
                })
                .await;
                follow(None, async {
                    let current = RequestContext::current();
                    assert_eq!(current.trace_id().as_deref(), Some(ROOT));
                })
                .await;
            })
            .await;
        assert_eq!(origin.upstream_ms(), Some(10));
        assert_eq!(RequestContext::default().upstream_ms(), None);
    }
}
