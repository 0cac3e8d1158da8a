//! The outermost layer of the server: counts requests, and tells them when the process ends.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use common::platform::time_limit::Shutdown;
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use crate::instruments::{InProgress, Instruments};

/// The middleware. Use it with `axum::middleware::from_fn_with_state`.
pub(crate) async fn count(
    State((instruments, shutdown)): State<(Instruments, Shutdown)>,
    mut request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let guard = instruments.in_progress();
    let method = request.method().clone();
    request.extensions_mut().insert(shutdown.limit());
    let response = next.run(request).await;
    let route = response.extensions().get::<MatchedPath>();
    instruments.request(
        method.as_str(),
        route.map_or("unknown", MatchedPath::as_str),
        response.status().as_u16(),
        began.elapsed(),
    );
    response.map(|body| {
        Body::new(CountedBody {
            body,
            _guard: guard,
        })
    })
}

/// A body that counts as in progress until it is dropped.
struct CountedBody {
    body: Body,
    _guard: InProgress,
}

impl HttpBody for CountedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
