//! The Lambda Runtime API. Each instance has its own server, as on AWS.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use super::outcome::{FunctionError, Outcome, ResponseStream, StreamBroken};
use super::{new_id, spawn};

const REQUEST_ID: HeaderName = HeaderName::from_static("lambda-runtime-aws-request-id");
const DEADLINE: HeaderName = HeaderName::from_static("lambda-runtime-deadline-ms");
const FUNCTION_ARN: HeaderName = HeaderName::from_static("lambda-runtime-invoked-function-arn");
const TRACE_ID: HeaderName = HeaderName::from_static("lambda-runtime-trace-id");
const RESPONSE_MODE: HeaderName = HeaderName::from_static("lambda-runtime-function-response-mode");
const ERROR_TYPE: HeaderName = HeaderName::from_static("lambda-runtime-function-error-type");
const ERROR_BODY: HeaderName = HeaderName::from_static("lambda-runtime-function-error-body");
const EXTENSION_ID: HeaderName = HeaderName::from_static("lambda-extension-identifier");

/// Largest buffered response in bytes.
const BUFFERED_LIMIT: usize = 6_291_556;

/// Chunks that are buffered for a slow client. The function waits if the buffer is full.
const CHUNKS_AHEAD: usize = 64;

/// A request of the function for its next event.
pub(super) type Poll = oneshot::Sender<Delivery>;

/// An event for the process.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) request_id: String,
    pub(super) deadline_ms: u128,
    pub(super) function_arn: String,
    pub(super) trace_id: String,
    pub(super) event: Bytes,
}

/// The server and its state. After it is dropped, no connection is accepted.
#[derive(Debug)]
pub(super) struct RuntimeApi {
    address: SocketAddr,
    sandbox: Arc<Sandbox>,
    server: AbortHandle,
}

#[derive(Debug)]
struct Sandbox {
    function: String,
    polls: mpsc::Sender<Poll>,
    current: Mutex<HashMap<String, Current>>,
    init_error: Mutex<Option<FunctionError>>,
}

/// An event that the process is handling. `sender` is `None` after the response has begun, or after
/// the timeout.
#[derive(Debug)]
struct Current {
    sender: Option<oneshot::Sender<Outcome>>,
    shared: Option<Shared>,
}

/// The event of a response that begins.
#[derive(Debug)]
struct Expected {
    sender: oneshot::Sender<Outcome>,
    /// Set if the process is shared.
    deadline: Option<Instant>,
}

/// Why a response is refused.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    /// There is no such event, or it has a response.
    Unknown,
    /// The event has timed out.
    Stale,
}

/// What an event has in addition if the process handles several events at once.
#[derive(Debug)]
#[expect(dead_code, reason = "two fields act when they are dropped")]
pub(super) struct Shared {
    /// The response is refused from then on. A process that is handling other events is not killed.
    pub(super) deadline: Instant,
    /// Dropped when the worker has sent its response, even if that is after the deadline.
    pub(super) worker: OwnedSemaphorePermit,
    /// Dropped at the same time.
    pub(super) finished: oneshot::Sender<()>,
}

impl RuntimeApi {
    /// Listens on a free port of loopback. The receiver gets the function's requests for events.
    pub(super) async fn start(
        function: &str,
        workers: usize,
    ) -> std::io::Result<(Self, mpsc::Receiver<Poll>)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (polls, receiver) = mpsc::channel(workers);
        let sandbox = Arc::new(Sandbox {
            function: function.to_owned(),
            polls,
            current: Mutex::default(),
            init_error: Mutex::default(),
        });
        let app = router(Arc::clone(&sandbox));
        let server = spawn(async move { axum::serve(listener, app).await }).abort_handle();
        let api = Self {
            address,
            sandbox,
            server,
        };
        Ok((api, receiver))
    }

    /// The value of `AWS_LAMBDA_RUNTIME_API`.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins an event. The response with this request id is sent to `sender`.
    pub(super) fn begin(
        &self,
        request_id: &str,
        sender: oneshot::Sender<Outcome>,
        shared: Option<Shared>,
    ) {
        let current = Current {
            sender: Some(sender),
            shared,
        };
        self.sandbox
            .current()
            .insert(request_id.to_owned(), current);
    }

    /// Ends the event, so that a later response is refused. Returns the sender if the response has
    /// not begun.
    pub(super) fn end(&self, request_id: &str) -> Option<oneshot::Sender<Outcome>> {
        self.sandbox.current().remove(request_id)?.sender
    }

    /// As `end`, but the worker counts as busy until it sends its response.
    pub(super) fn expire(&self, request_id: &str) -> Option<oneshot::Sender<Outcome>> {
        self.sandbox.current().get_mut(request_id)?.sender.take()
    }

    /// The error that the process reported for its start.
    pub(super) fn init_error(&self) -> Option<FunctionError> {
        locked(&self.sandbox.init_error).take()
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Sandbox {
    fn current(&self) -> MutexGuard<'_, HashMap<String, Current>> {
        locked(&self.current)
    }

    /// Takes what the response with this request id needs. Fails the second time, or if there is no
    /// such event.
    fn take(&self, request_id: &str) -> Result<Expected, Refusal> {
        let mut events = self.current();
        let current = events.get_mut(request_id).ok_or(Refusal::Unknown)?;
        let deadline = current.shared.as_ref().map(|shared| shared.deadline);
        if let Some(sender) = current.sender.take() {
            return Ok(Expected { sender, deadline });
        }
        if deadline.is_some_and(|at| at <= Instant::now()) {
            events.remove(request_id);
            return Err(Refusal::Stale);
        }
        Err(Refusal::Unknown)
    }

    /// Frees the worker, if the process has several. The only worker of a process is free when it
    /// asks for its next event.
    fn finish(&self, request_id: &str) {
        let mut events = self.current();
        if events
            .get(request_id)
            .is_some_and(|current| current.shared.is_some())
        {
            events.remove(request_id);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn router(sandbox: Arc<Sandbox>) -> Router {
    let runtime = Router::new()
        .route("/invocation/next", get(next))
        .route("/invocation/{id}/response", post(response))
        .route("/invocation/{id}/error", post(error))
        .route("/init/error", post(init_error));
    let extension = Router::new()
        .route("/register", post(register_extension))
        .route("/event/next", get(next_extension_event));
    Router::new()
        .nest("/2018-06-01/runtime", runtime)
        .nest("/2020-01-01/extension", extension)
        .with_state(sandbox)
}

async fn next(State(sandbox): State<Arc<Sandbox>>) -> Response<Body> {
    let (poll, delivery) = oneshot::channel();
    let asked = sandbox.polls.send(poll).await.is_ok();
    drop(sandbox);
    match delivery.await {
        Ok(delivery) if asked => delivery.into_response(),
        // The instance was dropped, so its process is about to be killed.
        _ => std::future::pending().await,
    }
}

impl Delivery {
    fn into_response(self) -> Response<Body> {
        let headers = [
            (REQUEST_ID, self.request_id),
            (DEADLINE, self.deadline_ms.to_string()),
            (FUNCTION_ARN, self.function_arn),
            (TRACE_ID, self.trace_id),
            (header::CONTENT_TYPE, "application/json".to_owned()),
        ];
        (headers, self.event).into_response()
    }
}

async fn response(
    State(sandbox): State<Arc<Sandbox>>,
    Path(request_id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response<Body> {
    let expected = match sandbox.take(&request_id) {
        Ok(expected) => expected,
        Err(refusal) => return refusal.into_response(),
    };
    let response = receive(expected, &headers, body).await;
    sandbox.finish(&request_id);
    response
}

/// Passes the body on to the caller of the event.
async fn receive(expected: Expected, headers: &HeaderMap, body: Body) -> Response<Body> {
    let Expected { sender, deadline } = expected;
    if headers
        .get(RESPONSE_MODE)
        .is_some_and(|mode| mode.as_bytes().eq_ignore_ascii_case(b"streaming"))
    {
        let (chunks, stream) = mpsc::channel(CHUNKS_AHEAD);
        // Sending fails if the caller has stopped waiting. The stream is still read to its end.
        let _ = sender.send(Outcome::Stream(ResponseStream::new(stream)));
        let Some(deadline) = deadline else {
            pump(body, &chunks).await;
            return accepted();
        };
        if timeout_at(deadline, pump(body, &chunks)).await.is_err() {
            // The rest of the body is not read, so the connection is closed.
            let _ = chunks.try_send(Err(StreamBroken("Task timed out".to_owned())));
            return Refusal::Stale.into_response();
        }
        return accepted();
    }
    match Limited::new(body, BUFFERED_LIMIT).collect().await {
        Ok(whole) => {
            let _ = sender.send(Outcome::Response(whole.to_bytes()));
            accepted()
        }
        Err(error) if error.is::<LengthLimitError>() => {
            let message = format!(
                "Response payload size exceeded maximum allowed payload size ({BUFFERED_LIMIT} bytes)."
            );
            let error = FunctionError::new("Function.ResponseSizeTooLarge", message.as_str());
            let _ = sender.send(Outcome::Error(error));
            let body = json!({"errorType": "RequestEntityTooLarge", "errorMessage": message});
            (StatusCode::PAYLOAD_TOO_LARGE, axum::Json(body)).into_response()
        }
        Err(error) => {
            let error = FunctionError::new("Runtime.TruncatedResponse", error.to_string());
            let _ = sender.send(Outcome::Error(error));
            refused("TruncatedResponse", "The response is incomplete")
        }
    }
}

/// Reads the stream to its end, even without a receiver. The function can only ask for its next
/// event after this returns.
async fn pump(mut body: Body, chunks: &mpsc::Sender<Result<Bytes, StreamBroken>>) {
    while let Some(frame) = body.frame().await {
        let item = match frame.map(http_body_frame_parts) {
            Ok(Frame::Data(data)) => Ok(data),
            Ok(Frame::Failure(message)) => Err(StreamBroken(message)),
            Ok(Frame::Other) => continue,
            Err(error) => Err(StreamBroken(error.to_string())),
        };
        let _ = chunks.send(item).await;
    }
}

enum Frame {
    Data(Bytes),
    Failure(String),
    Other,
}

fn http_body_frame_parts(frame: hyper::body::Frame<Bytes>) -> Frame {
    let trailers = match frame.into_data() {
        Ok(data) => return Frame::Data(data),
        Err(frame) => frame.into_trailers().unwrap_or_default(),
    };
    let text = |name| {
        let value = trailers.get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    match text(ERROR_TYPE) {
        Some(kind) => Frame::Failure(format!("{kind} {}", text(ERROR_BODY).unwrap_or_default())),
        None => Frame::Other,
    }
}

/// The error object that a runtime sends.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ReportedError {
    error_type: String,
    error_message: String,
}

impl Default for ReportedError {
    fn default() -> Self {
        Self {
            error_type: "Unhandled".to_owned(),
            error_message: String::new(),
        }
    }
}

fn reported(body: &[u8]) -> FunctionError {
    let error: ReportedError = serde_json::from_slice(body).unwrap_or_default();
    FunctionError {
        kind: error.error_type,
        message: error.error_message,
    }
}

async fn error(
    State(sandbox): State<Arc<Sandbox>>,
    Path(request_id): Path<String>,
    body: Bytes,
) -> Response<Body> {
    let expected = match sandbox.take(&request_id) {
        Ok(expected) => expected,
        Err(refusal) => return refusal.into_response(),
    };
    let _ = expected.sender.send(Outcome::Error(reported(&body)));
    sandbox.finish(&request_id);
    accepted()
}

async fn init_error(State(sandbox): State<Arc<Sandbox>>, body: Bytes) -> Response<Body> {
    *locked(&sandbox.init_error) = Some(reported(&body));
    accepted()
}

/// For graceful shutdown, a runtime registers an extension without events, which makes Lambda send
/// `SIGTERM`.
async fn register_extension(State(sandbox): State<Arc<Sandbox>>) -> Response<Body> {
    let id = new_id().to_string();
    let body = json!({
        "functionName": sandbox.function,
        "functionVersion": "$LATEST",
        "handler": "bootstrap",
    });
    ([(EXTENSION_ID, id)], axum::Json(body)).into_response()
}

async fn next_extension_event() -> Response<Body> {
    std::future::pending().await
}

fn accepted() -> Response<Body> {
    (StatusCode::ACCEPTED, axum::Json(json!({"status": "OK"}))).into_response()
}

impl Refusal {
    fn into_response(self) -> Response<Body> {
        match self {
            Self::Unknown => refused("InvalidRequestID", "Invalid request ID"),
            Self::Stale => {
                let message = "The invocation has timed out";
                let body = json!({"errorType": "Gone", "errorMessage": message});
                (StatusCode::GONE, axum::Json(body)).into_response()
            }
        }
    }
}

fn refused(kind: &str, message: &str) -> Response<Body> {
    let body = json!({"errorType": kind, "errorMessage": message});
    (StatusCode::BAD_REQUEST, axum::Json(body)).into_response()
}
