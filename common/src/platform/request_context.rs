//! What the work at hand is done for: the request, the invocation or the message that set it off.
//!
//! It goes with the work as its log span does, without a word of the functions on the way: into the tasks that are
//! started for it ([`RequestContext::scope`]), to DashScope and to the job queue.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::task::futures::TaskLocalFuture;
use tracing::{Instrument as _, instrument::Instrumented};

use crate::platform::clock;

const X_AMZN_TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");
/// No header of AWS comes near it.
const LONGEST: usize = 512;

tokio::task_local! {
    static CURRENT: RequestContext;
}

/// Who set off the work at hand; of nobody, where nobody is known.
#[derive(Clone, Debug, Default)]
pub struct RequestContext {
    request_id: Option<Arc<str>>,
    trace: Option<Trace>,
    /// Milliseconds for which DashScope was asked, all clones together.
    upstream: Arc<AtomicI64>,
}

impl RequestContext {
    /// The request or invocation of this id.
    pub fn new(request_id: &str, trace: Option<Trace>) -> Self {
        Self {
            request_id: Some(request_id.into()),
            trace,
            upstream: Arc::default(),
        }
    }

    /// That of whoever asks.
    pub fn current() -> Self {
        CURRENT.try_with(Self::clone).unwrap_or_default()
    }

    /// Has work done for it. A task that is started meanwhile needs a scope of its own.
    pub fn scope<Work: Future>(self, work: Work) -> TaskLocalFuture<Self, Work> {
        CURRENT.scope(self, work)
    }

    /// For the log.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// For the log.
    pub fn trace_id(&self) -> Option<&str> {
        self.trace.as_ref().map(Trace::root)
    }

    /// What whoever is asked on the way is to be told, if there is a trace.
    pub(crate) fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }

    /// The same for an HTTP header.
    pub(crate) fn trace_value(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(self.trace()?.header()).ok()
    }

    /// Notes that DashScope was asked for so long.
    pub(crate) fn asked(&self, took: Duration) {
        let millis = clock::millis(took).max(1);
        self.upstream.fetch_add(millis, Ordering::Relaxed);
    }

    /// For how long DashScope was asked by now, in milliseconds; nothing where it was not.
    pub(crate) fn upstream_ms(&self) -> Option<i64> {
        Some(self.upstream.load(Ordering::Relaxed)).filter(|millis| *millis > 0)
    }
}

/// Work for a task of its own, which goes on under the origin and the log span of whoever starts it.
pub(crate) fn in_current_context<Work: Future>(
    work: Work,
) -> Instrumented<TaskLocalFuture<RequestContext, Work>> {
    RequestContext::current().scope(work).in_current_span()
}

/// Has work done that a message set off: its trace is the sender's, where there is one.
pub async fn follow<Work: Future>(trace: Option<Trace>, work: Work) -> Work::Output {
    let mut origin = RequestContext::current();
    if let Some(trace) = trace {
        tracing::Span::current().record("trace_id", trace.root());
        origin.trace = Some(trace);
    }
    origin.scope(work).await
}

/// A header of AWS X-Ray, `Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1`, of which only
/// these three are kept, for it goes into headers and logs. What else may stand there is Lambda's own: by `Lineage` in a
/// message it would take a worker that has itself woken for one that runs in a circle, and stop it after 16 times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    header: String,
    root: String,
}

impl Trace {
    /// Reads a header; one without a root that AWS would write is none.
    pub fn parse(header: &str) -> Option<Self> {
        if header.len() > LONGEST {
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

    /// The one that a request comes with.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        Self::parse(headers.get(X_AMZN_TRACE_ID)?.to_str().ok()?)
    }

    /// What all have in common that belongs together.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The header to be passed on.
    pub fn header(&self) -> &str {
        &self.header
    }
}

/// Version, time and chance.
fn is_root(text: &str) -> bool {
    text.strip_prefix("1-")
        .and_then(|rest| rest.split_once('-'))
        .is_some_and(|(time, chance)| is_hex(time, 8) && is_hex(chance, 24))
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
    fn of_a_trace_header_only_what_is_known_is_kept() {
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
    fn what_is_no_trace_header_is_none() {
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
            &format!("Root={ROOT};{}", "x".repeat(LONGEST)),
        ] {
            assert_eq!(Trace::parse(header), None, "{header}");
        }
    }

    #[tokio::test]
    async fn whoever_works_knows_for_whom_and_clones_count_together() {
        assert_eq!(RequestContext::current().request_id(), None);
        let origin = RequestContext::new("r-1", Trace::parse(&format!("Root={ROOT}")));
        origin
            .clone()
            .scope(async {
                let current = RequestContext::current();
                assert_eq!(
                    (current.request_id(), current.trace_id()),
                    (Some("r-1"), Some(ROOT))
                );
                current.asked(Duration::from_millis(7));
                let other = Trace::parse("Root=1-00000000-000000000000000000000000");
                follow(other.clone(), async move {
                    let current = RequestContext::current();
                    assert_eq!(current.request_id(), Some("r-1"));
                    assert_eq!(current.trace(), other.as_ref());
                    current.asked(Duration::from_millis(3));
                })
                .await;
                follow(None, async {
                    assert_eq!(RequestContext::current().trace_id(), Some(ROOT));
                })
                .await;
            })
            .await;
        assert_eq!(origin.upstream_ms(), Some(10));
        assert_eq!(RequestContext::default().upstream_ms(), None);
    }
}
