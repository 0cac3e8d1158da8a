//! The Lambda Runtime API. Each instance has its own server, as on AWS.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

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
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

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
    current: Mutex<Option<Current>>,
    init_error: Mutex<Option<FunctionError>>,
}

/// The event that the process is handling. `sender` is `None` after the response has begun.
#[derive(Debug)]
struct Current {
    request_id: String,
    sender: Option<oneshot::Sender<Outcome>>,
}

impl RuntimeApi {
    /// Listens on a free port of loopback. The receiver gets the function's requests for events.
    pub(super) async fn start(function: &str) -> std::io::Result<(Self, mpsc::Receiver<Poll>)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (polls, receiver) = mpsc::channel(1);
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
    pub(super) fn begin(&self, request_id: &str, sender: oneshot::Sender<Outcome>) {
        *self.sandbox.current() = Some(Current {
            request_id: request_id.to_owned(),
            sender: Some(sender),
        });
    }

    /// Ends the event, so that a later response is refused. Returns the sender if the response has
    /// not begun.
    pub(super) fn end(&self) -> Option<oneshot::Sender<Outcome>> {
        self.sandbox.current().take()?.sender
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
    fn current(&self) -> MutexGuard<'_, Option<Current>> {
        locked(&self.current)
    }

    /// Takes the sender for the response with this request id. Returns `None` the second time, or
    /// if this is not the current event.
    fn take_sender(&self, request_id: &str) -> Option<oneshot::Sender<Outcome>> {
        let mut current = self.current();
        let current = current
            .as_mut()
            .filter(|current| current.request_id == request_id)?;
        current.sender.take()
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
    let Some(sender) = sandbox.take_sender(&request_id) else {
        return refused("InvalidRequestID", "Invalid request ID");
    };
    if headers
        .get(RESPONSE_MODE)
        .is_some_and(|mode| mode.as_bytes().eq_ignore_ascii_case(b"streaming"))
    {
        let (chunks, stream) = mpsc::channel(CHUNKS_AHEAD);
        // Sending fails if the caller has stopped waiting. The stream is still read to its end.
        let _ = sender.send(Outcome::Stream(ResponseStream::new(stream)));
        pump(body, &chunks).await;
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
    let Some(sender) = sandbox.take_sender(&request_id) else {
        return refused("InvalidRequestID", "Invalid request ID");
    };
    let _ = sender.send(Outcome::Error(reported(&body)));
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

fn refused(kind: &str, message: &str) -> Response<Body> {
    let body = json!({"errorType": kind, "errorMessage": message});
    (StatusCode::BAD_REQUEST, axum::Json(body)).into_response()
}
