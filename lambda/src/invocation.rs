//! Which invocation this is, and when Lambda ends it.

use std::time::{Duration, SystemTime};

use axum::http::{HeaderName, HeaderValue, Request};
use tokio::time::Instant;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// One call of the function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// The id that Lambda gave it, the same in the platform's own log lines.
    pub request_id: String,
    /// When Lambda kills the process; `None` where that is not known, as under `cargo lambda watch`.
    pub deadline: Option<Deadline>,
}

/// The instant at which Lambda kills the process, whatever it is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(pub Instant);

impl Invocation {
    pub(crate) fn new(context: &lambda_runtime::Context) -> Self {
        Self {
            request_id: context.request_id.clone(),
            deadline: remaining(context.deadline()).and_then(Deadline::after),
        }
    }

    /// Puts the id into the header, over whatever the client sent, and the rest into the extensions.
    pub(crate) fn mark<B>(self, request: &mut Request<B>) {
        if let Ok(id) = HeaderValue::from_str(&self.request_id) {
            request.headers_mut().insert(REQUEST_ID, id);
        } else {
            request.headers_mut().remove(REQUEST_ID);
        }
        if let Some(deadline) = self.deadline {
            request.extensions_mut().insert(deadline);
        }
        request.extensions_mut().insert(self);
    }
}

impl Deadline {
    /// `None` for a time that no clock of this machine will show.
    fn after(remaining: Duration) -> Option<Self> {
        Instant::now().checked_add(remaining).map(Self)
    }
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
    fn context(id: &str, end: Duration) -> lambda_runtime::Context {
        let mut context = lambda_runtime::Context::default();
        context.request_id = id.to_owned();
        let end = SystemTime::now() + end;
        let end = end.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        context.deadline = u64::try_from(end.as_millis()).unwrap();
        context
    }

    #[test]
    fn the_deadline_is_kept_on_the_monotonic_clock() {
        let before = Instant::now();
        let invocation = Invocation::new(&context("r-1", Duration::from_secs(60)));
        let deadline = invocation.deadline.unwrap().0;
        assert!(deadline > before);
        assert!(deadline <= Instant::now() + Duration::from_secs(60));
    }

    #[test]
    fn a_deadline_in_the_past_counts_as_none() {
        let mut context = context("r-1", Duration::ZERO);
        context.deadline = 600_000;
        assert_eq!(Invocation::new(&context).deadline, None);
    }

    #[test]
    fn the_most_distant_deadline_does_no_harm() {
        let mut context = context("r-1", Duration::ZERO);
        context.deadline = u64::MAX;
        let _ = Invocation::new(&context);
    }

    #[test]
    fn a_request_id_of_the_client_is_overwritten() {
        let mut request = Request::new(());
        for value in ["forged", "twice"] {
            request
                .headers_mut()
                .append(REQUEST_ID, HeaderValue::from_static(value));
        }
        Invocation::new(&context("r-1", Duration::from_secs(1))).mark(&mut request);
        let ids: Vec<_> = request.headers().get_all(REQUEST_ID).iter().collect();
        assert_eq!(ids, ["r-1"]);
        assert!(request.extensions().get::<Deadline>().is_some());
        assert_eq!(
            request.extensions().get::<Invocation>().unwrap().request_id,
            "r-1"
        );
    }

    #[test]
    fn an_id_that_is_no_header_value_leaves_none_behind() {
        let mut request = Request::new(());
        request
            .headers_mut()
            .insert(REQUEST_ID, HeaderValue::from_static("forged"));
        Invocation::new(&context("a\nb", Duration::from_secs(1))).mark(&mut request);
        assert!(request.headers().get(REQUEST_ID).is_none());
    }
}
