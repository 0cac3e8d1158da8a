//! Exports the spans of a request before its response ends. After that, Lambda freezes the sandbox.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    response::Response,
};
use common::platform::traces;
use http_body::Frame;

/// A body that ends after the export of all spans.
struct FlushedBody {
    body: Body,
    state: State,
}

enum State {
    Sending,
    Flushing(Pin<Box<dyn Future<Output = ()> + Send>>),
    Done,
}

/// Wraps the body if traces are on. The client already has the whole body when the export begins.
pub(crate) fn at_the_end(response: Response) -> Response {
    if !traces::are_on() {
        return response;
    }
    response.map(|body| {
        Body::new(FlushedBody {
            body,
            state: State::Sending,
        })
    })
}

/// It has no size hint and no early end: then the runtime would not poll it to its end.
impl HttpBody for FlushedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Self { body, state } = &mut *self;
        loop {
            match state {
                State::Sending => match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                    None => *state = State::Flushing(Box::pin(traces::flush())),
                    frame => return Poll::Ready(frame),
                },
                State::Flushing(flush) => {
                    ready!(flush.as_mut().poll(cx));
                    *state = State::Done;
                }
                State::Done => return Poll::Ready(None),
            }
        }
    }
}
