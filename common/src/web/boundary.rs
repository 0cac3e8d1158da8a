//! The outermost layer of every router: it gives a request its id, turns a panic or an
//! error into the body that the client's face asks for, and writes the one log line.
//!
//! A trace is Lambda's, where it gives one, else the client's.

use std::{panic::AssertUnwindSafe, sync::Arc};

use axum::{
    extract::{MatchedPath, Request},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt as _;
use http::{HeaderName, HeaderValue};
use tokio::time::Instant;
use tracing::Instrument as _;

use super::error_response::ErrorFormat;
use crate::platform::{
    clock,
    error::Error,
    request_context::{RequestContext, Trace},
    telemetry,
};

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request: Lambda's own, or a fresh one where there is none. What a client
/// sends under that name is not believed, for it goes into the log.
#[derive(Clone, Debug)]
pub struct RequestId(pub Arc<str>);

/// When Lambda will kill the function. Absent where nobody does.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(pub Instant);

/// An error on its way from a handler to [`boundary`], which renders it.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = Response::default();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

/// The answer to an unknown path.
pub async fn not_found() -> Error {
    Error::NotFound
}

/// The answer to an unknown method of a known path; axum adds `Allow`.
pub async fn method_not_allowed() -> Error {
    Error::MethodNotAllowed
}

/// Use with `axum::middleware::from_fn`, outermost.
pub async fn boundary(mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let face = ErrorFormat::of(request.uri().path());
    let id = request
        .extensions_mut()
        .remove::<RequestId>()
        .unwrap_or_else(|| RequestId(clock::request_id().into()));
    request.extensions_mut().insert(id.clone());
    let trace = request.extensions_mut().remove::<Trace>();
    let trace = trace.or_else(|| Trace::of(request.headers()));
    let origin = RequestContext::new(&id.0, trace);
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("unknown", MatchedPath::as_str);
    let span = tracing::info_span!(
        "request",
        request_id = &*id.0,
        trace_id = origin.trace_id(),
        site_id = tracing::field::Empty,
        user_id = tracing::field::Empty
    );

    let answer = AssertUnwindSafe(origin.clone().scope(next.run(request)))
        .catch_unwind()
        .instrument(span.clone())
        .await;
    let mut response = answer.unwrap_or_else(|_| Error::internal("panicked").into_response());

    let _entered = span.enter();
    let error = response.extensions_mut().remove::<Arc<Error>>();
    if let Some(error) = &error {
        response = face.render(error, &id.0, response.headers());
    }
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }

    let status = response.status().as_u16();
    // Of an answer that streams, only until its head: how long the rest took, "reply ended" says.
    let upstream_latency_ms = origin.upstream_ms();
    let latency_ms = clock::millis(began.elapsed());
    match &error {
        // An open circuit is a refusal like others; that it opened has been told.
        Some(error) if status >= 500 && !matches!(**error, Error::CircuitOpen { .. }) => {
            let cause = telemetry::chain(&**error);
            tracing::error!(%method, route, status, latency_ms, upstream_latency_ms, cause, "request failed");
        }
        Some(error) => {
            tracing::info!(%method, route, status, latency_ms, upstream_latency_ms, refusal = %error, "request refused");
        }
        None => {
            tracing::info!(%method, route, status, latency_ms, upstream_latency_ms, "request answered");
        }
    }
    response
}
