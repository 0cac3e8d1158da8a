//! The seam between Parlor and AWS Lambda: what a function's three-line `main.rs` calls.
//!
//! ```no_run
//! # fn router() -> axum::Router { axum::Router::new() }
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), lambda::Error> {
//!     lambda::serve(router()).await
//! }
//! ```
//!
//! Neither a panic before the answer nor an event of the wrong shape ends the process: the
//! invocation is answered with an error (API Gateway makes it a 502) and the next one is served.
//! A panic in the middle of a stream cannot be told to anybody: the stream just ends, cleanly and
//! with status 200, so a stream needs a last event of its own that says it is whole.

mod invocation;

use axum::Router;
use lambda_http::RequestExt as _;
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde::{Serialize, de::DeserializeOwned};
use tower::ServiceExt as _;

pub use invocation::{Deadline, Invocation};
pub use lambda_runtime::Error;

/// Serves HTTP events (API Gateway REST and HTTP API payloads) with `router`, one at a time, until
/// the sandbox is taken away.
///
/// Every answer, a short JSON one too, goes out in the streaming form: JSON prelude, eight NULs,
/// body. API Gateway understands that through a streaming integration only (a buffered one makes
/// it a 502), so every route of such a function needs `ResponseTransferMode: RESPONSE_STREAM`.
///
/// Before the router sees a request, its `x-request-id` header is overwritten with the Lambda
/// request id, and [`Invocation`] and, when there is one, [`Deadline`] are put into its extensions.
///
/// An error means that the Runtime API could not be talked to; Lambda then replaces the process.
pub async fn serve(router: Router) -> Result<(), Error> {
    lambda_http::run_with_streaming_response(router.map_request(introduce)).await
}

/// Serves plain events (schedules, queues, direct invocations) with `handler`, one at a time, until
/// the sandbox is taken away.
///
/// The handler's error becomes the invocation's: its `Display` is the message that Lambda logs and
/// hands to a caller, so it must hold nothing secret. An event that is no `Event` is answered with
/// an error without the handler being called.
///
/// An error means that the Runtime API could not be talked to; Lambda then replaces the process.
pub async fn handle<Event, Answer, Failure, Pending, Handler>(handler: Handler) -> Result<(), Error>
where
    Handler: Fn(Event, Invocation) -> Pending,
    Pending: Future<Output = Result<Answer, Failure>>,
    Event: DeserializeOwned,
    Answer: Serialize,
    Failure: Into<Error>,
{
    let service = |LambdaEvent { payload, context }| {
        let answer = handler(payload, Invocation::new(&context));
        async { answer.await.map_err(diagnostic) }
    };
    lambda_runtime::run(lambda_runtime::service_fn(service)).await
}

/// Names the failure by its type, which is what an alarm filters by.
fn diagnostic<Failure: Into<Error>>(failure: Failure) -> Diagnostic {
    Diagnostic {
        error_type: std::any::type_name::<Failure>().to_owned(),
        error_message: failure.into().to_string(),
    }
}

/// Tells the router which invocation a request belongs to.
fn introduce(mut request: lambda_http::Request) -> lambda_http::Request {
    let Some(invocation) = request.lambda_context_ref().map(Invocation::new) else {
        return request;
    };
    invocation.mark(&mut request);
    request
}
