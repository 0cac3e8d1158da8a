//! The result of an invocation.

use std::fmt;

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::mpsc;

/// The result of an invocation.
#[derive(Debug)]
pub enum Outcome {
    /// A complete payload, usually JSON.
    Response(Bytes),
    /// A stream that has begun: a JSON prelude, eight NUL bytes, then the body. See
    /// [`Outcome::into_http`].
    Stream(ResponseStream),
    /// The function reported an error, crashed or exceeded its timeout.
    Error(FunctionError),
}

/// The payload that Lambda returns for a failed invocation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct FunctionError {
    /// `errorType`: from the function, or from the platform, such as `Runtime.ExitError` (the
    /// process crashed) or `Sandbox.Timedout` (it was killed at its deadline).
    pub kind: String,
    /// `errorMessage`.
    pub message: String,
}

/// The chunks of a streamed response, as they arrive. Dropping it does not cancel the function.
#[derive(Debug)]
pub struct ResponseStream {
    chunks: mpsc::Receiver<Result<Bytes, StreamBroken>>,
}

/// The stream is incomplete: the function crashed, was killed or reported an error in a trailer.
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

    /// Returns the next chunk, or `None` after the last.
    pub async fn next(&mut self) -> Option<Result<Bytes, StreamBroken>> {
        self.chunks.recv().await
    }

    /// Converts to a `Stream`, for a body.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, StreamBroken>> {
        futures_util::stream::unfold(self, async |mut this| {
            this.next().await.map(|chunk| (chunk, this))
        })
    }
}

impl fmt::Display for StreamBroken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the stream is incomplete: {}", self.0)
    }
}

impl std::error::Error for StreamBroken {}
