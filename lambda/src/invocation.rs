//! Request id, trace and deadline of a Lambda invocation.

use std::time::{Duration, SystemTime};

use axum::http::Extensions;
use common::{
    platform::{
        request_context::{Trace, start_span},
        time_limit::TimeLimit,
        traces::{Kind, Span},
    },
    web::RequestId,
};
use lambda_runtime::Context;
use tokio::time::Instant;

/// A non-HTTP event and the deadline of its invocation.
#[derive(Clone, Copy, Debug)]
pub struct Invocation<Event> {
    /// The payload.
    pub event: Event,
    /// When Lambda ends the invocation. `None` if there is no deadline, as under `cargo lambda`.
    pub ends_at: Option<Instant>,
}

/// Inserts Lambda's request id into the extensions, and trace and deadline if the context has them.
pub(crate) fn insert_context(context: &Context, extensions: &mut Extensions) {
    extensions.insert(RequestId(context.request_id.as_str().into()));
    if let Some(trace) = trace(context) {
        extensions.insert(trace);
    }
    if let Some(at) = ends_at(context) {
        extensions.insert(TimeLimit::from(at));
    }
}

pub(crate) fn trace(context: &Context) -> Option<Trace> {
    Trace::parse(context.xray_trace_id.as_deref()?)
}

/// The span of an invocation that is not an HTTP request.
pub(crate) fn span(context: &Context) -> Span {
    let span = start_span(Kind::Server, || context.env_config.function_name.clone());
    span.set("faas.invocation_id", context.request_id.clone());
    span
}

/// When Lambda ends the invocation. `None` if the deadline in the context is a placeholder.
pub(crate) fn ends_at(context: &Context) -> Option<Instant> {
    let left = remaining(context.deadline())?;
    // A deadline too far in the future for `Instant` counts as none.
    Instant::now().checked_add(left)
}

/// The time until `end`, or `None` if `end` is past. No invocation starts after its deadline, so a
/// deadline in the past (1970, from `cargo lambda`) is a placeholder.
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

    fn extensions_of(deadline: u64) -> Extensions {
        let mut extensions = Extensions::new();
        insert_context(&context(deadline), &mut extensions);
        extensions
    }

    #[test]
    fn deadline_becomes_a_monotonic_instant() {
        let before = Instant::now();
        let extensions = extensions_of(in_a_minute());
        assert_eq!(&*extensions.get::<RequestId>().unwrap().0, "r-1");
        let at = extensions
            .get::<TimeLimit>()
            .and_then(TimeLimit::at)
            .unwrap();
        assert!(at > before && at <= Instant::now() + Duration::from_secs(60));
        let at = ends_at(&context(in_a_minute())).unwrap();
        assert!(at > before && at <= Instant::now() + Duration::from_secs(60));
    }

    #[test]
    fn trace_is_inserted_only_if_it_is_valid() {
        let mut context = context(0);
        let mut trace_of = |header: &str| {
            context.xray_trace_id = Some(header.to_owned());
            let mut extensions = Extensions::new();
            insert_context(&context, &mut extensions);
            extensions.remove::<Trace>()
        };
        let trace = trace_of("Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1").unwrap();
        assert_eq!(trace.root(), "1-5759e988-bd862e3fe1be46a994272793");
        assert_eq!(trace_of(""), None);
    }

    #[test]
    fn deadline_in_the_past_counts_as_none() {
        assert!(extensions_of(600_000).get::<TimeLimit>().is_none());
        assert!(ends_at(&context(600_000)).is_none());
    }

    #[test]
    fn deadline_in_the_far_future_does_not_panic() {
        extensions_of(u64::MAX);
    }
}
