//! The outermost layer of every router. It sets the request id, renders errors and panics in the
//! format of the API, and writes one log line per request.
//!
//! The X-Ray trace is from Lambda if it provides one, else from the client. The span for
//! OpenTelemetry ends with the body, so that it covers a stream to its end.

use std::{
    convert::Infallible,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{FromRequestParts, MatchedPath, Request},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt as _;
use http::{HeaderName, HeaderValue, request::Parts};
use http_body::{Frame, SizeHint};
use tokio::time::Instant;
use tracing::{Instrument as _, Span};

use super::{
    error_response::ErrorFormat,
    viewer::{HiddenTexts, without_texts},
};
use crate::platform::{
    clock,
    error::Error,
    request_context::{RequestContext, Trace},
    telemetry,
    time_limit::TimeLimit,
    traces,
};

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request: Lambda's own, or a new one. A client's `x-request-id` is ignored, because
/// the id is logged.
#[derive(Clone, Debug)]
pub struct RequestId(pub Arc<str>);

/// The limit in the extensions of the request: the end of the invocation, or of the process.
impl<S: Sync> FromRequestParts<S> for TimeLimit {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

/// Passes the error as an extension to [`boundary`], which renders it.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = Response::default();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

/// An extension of a response that is an error as a page. [`boundary`] logs the error, and keeps
/// the response.
#[derive(Clone, Copy, Debug)]
pub struct RenderedError;

/// The handler for unknown paths.
pub async fn not_found() -> Error {
    Error::NotFound
}

/// The handler for unknown methods of a known path. axum adds `Allow`.
pub async fn method_not_allowed() -> Error {
    Error::MethodNotAllowed
}

/// The middleware. Use it with `axum::middleware::from_fn`, as the outermost layer.
pub async fn boundary(mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = request
        .extensions_mut()
        .remove::<RequestId>()
        .unwrap_or_else(|| RequestId(clock::request_id().into()));
    request.extensions_mut().insert(id.clone());
    let texts = HiddenTexts::default();
    request.extensions_mut().insert(texts.clone());
    let trace = request.extensions_mut().remove::<Trace>();
    let trace = trace.or_else(|| Trace::of(request.headers()));
    let method = request.method().clone();
    let matched = request.extensions().get::<MatchedPath>().cloned();
    // API Gateway has one response for all unknown paths (`template.yaml`). This is the same one.
    let format = matched.as_ref().map_or(ErrorFormat::MiniProgram, |route| {
        ErrorFormat::of(route.as_str())
    });
    let route = matched.as_ref().map_or("unknown", MatchedPath::as_str);
    let traced = traces::Span::of_request(&method, route, request.headers());
    if !traced.is_none() {
        traced.set("parlor.request.id", Arc::clone(&id.0));
        let root = trace.as_ref().map(|trace| trace.root().to_owned());
        traced.set_some("aws.xray.trace_id", root);
    }
    let origin = RequestContext::new(&id.0, trace).with_span(traced.clone());
    let span = tracing::info_span!(
        "request",
        request_id = &*id.0,
        trace_id = origin.trace_id().as_deref(),
        site_id = tracing::field::Empty,
        user_id = tracing::field::Empty,
        api_key_id = tracing::field::Empty
    );

    let outcome = AssertUnwindSafe(origin.clone().scope(next.run(request)))
        .catch_unwind()
        .instrument(span.clone())
        .await;
    let mut response = outcome.unwrap_or_else(|_| Error::internal("panicked").into_response());
    if texts.are_hidden() {
        response = without_texts(response)
            .await
            .unwrap_or_else(Error::into_response);
    }

    let _entered = span.enter();
    let error = response.extensions_mut().remove::<Arc<Error>>();
    let is_rendered = response
        .extensions_mut()
        .remove::<RenderedError>()
        .is_some();
    if let Some(error) = &error
        && !is_rendered
    {
        response = format.render(error, &id.0, response.headers());
    }
    if let Some(matched) = &matched {
        // For a counter of requests, which is outside of this layer.
        response.extensions_mut().insert(matched.clone());
    }
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }

    let status = response.status().as_u16();
    traced.set("http.response.status_code", i64::from(status));
    if status >= 500 {
        traced.fail(&status.to_string());
    }
    // For a stream, this is the time until its head. The log line "reply ended" has the full time.
    let upstream_latency_ms = origin.upstream_ms();
    let latency_ms = clock::millis(began.elapsed());
    match &error {
        // An open circuit and a disabled app are not failures of this request. The opening was
        // already logged, and the refusal names the app.
        Some(error)
            if status >= 500
                && !matches!(**error, Error::CircuitOpen { .. } | Error::AppDisabled(_)) =>
        {
            let cause = telemetry::chain(&**error);
            tracing::error!(%method, route, status, latency_ms, upstream_latency_ms, cause, "request failed");
        }
        Some(error) => {
            tracing::info!(%method, route, status, latency_ms, upstream_latency_ms, refusal = %error, "request refused");
        }
        None => {
            tracing::info!(%method, route, status, latency_ms, upstream_latency_ms, "request finished");
        }
    }
    let span = span.clone();
    let traced = (!traced.is_none()).then_some(origin);
    response.map(|body| Body::new(BodyInSpan { body, span, traced }))
}

/// A body whose log lines have the request id, also that of a panic. With traces, its statements
/// belong to the span of the request, which ends with it.
///
/// The server polls a body in a task of its own, outside the span of the request. A process with
/// several requests at once could not tell whose line it is.
struct BodyInSpan {
    body: Body,
    span: Span,
    /// The context of the request, if traces are on.
    traced: Option<RequestContext>,
}

impl BodyInSpan {
    fn end(&mut self) {
        if let Some(context) = self.traced.take() {
            context.span().end();
        }
    }
}

impl Drop for BodyInSpan {
    fn drop(&mut self) {
        self.end();
    }
}

impl HttpBody for BodyInSpan {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Self { body, span, traced } = &mut *self;
        let poll = || span.in_scope(|| Pin::new(body).poll_frame(cx));
        let polled = match traced {
            Some(context) => context.clone().enter(poll),
            None => poll(),
        };
        if let Poll::Ready(None | Some(Err(_))) = polled {
            self.end();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
