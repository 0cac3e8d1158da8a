//! How an invocation ended, or how its stream began.

use std::fmt;

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::mpsc;

/// What a function made of an event.
#[derive(Debug)]
pub enum Outcome {
    /// A whole answer, usually JSON.
    Response(Bytes),
    /// A stream that has begun: a JSON prelude, eight NULs, then the body. See [`Outcome::into_http`].
    Stream(ResponseStream),
    /// The function reported an error, crashed or ran out of time.
    Error(FunctionError),
}

/// The payload that Lambda returns for a failed invocation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct FunctionError {
    /// `errorType`: the function's own, or the platform's, such as `Runtime.ExitError` (it crashed)
    /// or `Sandbox.Timedout` (it was killed at its deadline).
    pub kind: String,
    /// `errorMessage`.
    pub message: String,
}

/// The chunks of a streamed answer, as they arrive. Dropping it cancels nothing.
#[derive(Debug)]
pub struct ResponseStream {
    chunks: mpsc::Receiver<Result<Bytes, StreamBroken>>,
}

/// The stream ended before its end: the function crashed, was killed or said so in a trailer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamBroken(pub String);

impl FunctionError {
    pub(super) fn new(kind: &str, message: impl Into<String>) -> Self {
        Self {
            kind: kind.to_owned(),
            message: message.into(),
        }
    }
}

impl ResponseStream {
    pub(super) fn new(chunks: mpsc::Receiver<Result<Bytes, StreamBroken>>) -> Self {
        Self { chunks }
    }

    /// The next chunk; `None` after the last.
    pub async fn next(&mut self) -> Option<Result<Bytes, StreamBroken>> {
        self.chunks.recv().await
    }

    /// The chunks as a stream, for a body.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, StreamBroken>> {
        futures_util::stream::unfold(self, async |mut this| {
            this.next().await.map(|chunk| (chunk, this))
        })
    }
}

impl fmt::Display for StreamBroken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the stream broke off: {}", self.0)
    }
}

impl std::error::Error for StreamBroken {}
