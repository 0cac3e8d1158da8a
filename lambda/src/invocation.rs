//! Which invocation a request or an event belongs to, and when Lambda ends it.

use std::time::{Duration, SystemTime};

use axum::http::Extensions;
use common::{
    platform::request_context::Trace,
    web::{Deadline, RequestId},
};
use lambda_runtime::Context;
use tokio::time::Instant;

/// A plain event, and what its handler may know of the invocation.
#[derive(Clone, Copy, Debug)]
pub struct Invocation<Event> {
    /// What the function is told.
    pub event: Event,
    /// When Lambda will kill the function. Absent where nobody does.
    pub ends_at: Option<Instant>,
}

/// Puts Lambda's request id and, where there are such, trace and deadline beside the request.
pub(crate) fn introduce(context: &Context, extensions: &mut Extensions) {
    extensions.insert(RequestId(context.request_id.as_str().into()));
    if let Some(trace) = trace(context) {
        extensions.insert(trace);
    }
    if let Some(at) = ends_at(context) {
        extensions.insert(Deadline(at));
    }
}

/// The trace of an invocation.
pub(crate) fn trace(context: &Context) -> Option<Trace> {
    Trace::parse(context.xray_trace_id.as_deref()?)
}

/// When Lambda ends an invocation; `None` where its context only holds a placeholder.
pub(crate) fn ends_at(context: &Context) -> Option<Instant> {
    let left = remaining(context.deadline())?;
    // A time that no clock of this machine will show counts as none.
    Instant::now().checked_add(left)
}

/// What is left until `end`; `None` when that is past: no invocation starts after its own end, so
/// such a time (1970, from `cargo lambda`) is a placeholder.
#[expect(
    clippy::disallowed_methods,
    reason = "the Runtime API gives the deadline as wall-clock time; here it becomes monotonic"
)]
fn remaining(end: SystemTime) -> Option<Duration> {
    end.duration_since(SystemTime::now()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a deadline is wall-clock time")]
    fn in_a_minute() -> u64 {
        let end = SystemTime::now() + Duration::from_secs(60);
        let end = end.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        u64::try_from(end.as_millis()).unwrap()
    }

    fn context(deadline: u64) -> Context {
        let mut context = Context::default();
        context.request_id = "r-1".to_owned();
        context.deadline = deadline;
        context
    }

    fn introduced(deadline: u64) -> Extensions {
        let mut extensions = Extensions::new();
        introduce(&context(deadline), &mut extensions);
        extensions
    }

    #[test]
    fn the_deadline_is_kept_on_the_monotonic_clock() {
        let before = Instant::now();
        let extensions = introduced(in_a_minute());
        assert_eq!(&*extensions.get::<RequestId>().unwrap().0, "r-1");
        let Deadline(at) = *extensions.get::<Deadline>().unwrap();
        assert!(at > before && at <= Instant::now() + Duration::from_secs(60));
        let at = ends_at(&context(in_a_minute())).unwrap();
        assert!(at > before && at <= Instant::now() + Duration::from_secs(60));
    }

    #[test]
    fn a_trace_is_kept_where_it_is_one() {
        let mut context = context(0);
        let mut introduced = |header: &str| {
            context.xray_trace_id = Some(header.to_owned());
            let mut extensions = Extensions::new();
            introduce(&context, &mut extensions);
            extensions.remove::<Trace>()
        };
        let trace = introduced("Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1").unwrap();
        assert_eq!(trace.root(), "1-5759e988-bd862e3fe1be46a994272793");
        assert_eq!(introduced(""), None);
    }

    #[test]
    fn a_deadline_in_the_past_counts_as_none() {
        assert!(introduced(600_000).get::<Deadline>().is_none());
        assert!(ends_at(&context(600_000)).is_none());
    }

    #[test]
    fn the_most_distant_deadline_does_no_harm() {
        introduced(u64::MAX);
    }
}
