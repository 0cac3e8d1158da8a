//! The seam between Parlor and AWS Lambda: what a function's three-line `main.rs` calls.
//!
//! Neither a panic before the answer nor an event of the wrong shape ends the process: the
//! invocation is answered with an error (API Gateway makes it a 502) and the next one is
//! served. A panic in the middle of a stream cannot be told to anybody: the stream just
//! ends, cleanly and with status 200, so a stream needs a last event that says it is whole.

mod invocation;

use axum::{Router, extract::Request, middleware};
use common::{
    platform::{
        env::{ConfigError, Env},
        request_context::RequestContext,
        telemetry,
    },
    web::{self, Cors},
};
use lambda_http::RequestExt as _;
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde::{Serialize, de::DeserializeOwned};
use tower::{Layer as _, ServiceExt};
use tracing::Instrument as _;
use utoipa_axum::router::OpenApiRouter;

pub use invocation::Invocation;
pub use lambda_runtime::Error;

/// A router as clients meet it: with answers for unknown paths and methods, and inside the
/// boundary that renders every error.
///
/// The rules for pages of other origins are outermost, so that such a page can read errors, too.
/// They go around the router as a whole: a layer of its own would have axum add the path's
/// methods to the answer of a preflight.
pub fn app(router: OpenApiRouter, cors: &Cors) -> Router {
    let app = Router::from(router)
        .fallback(web::not_found)
        .method_not_allowed_fallback(web::method_not_allowed)
        .layer(middleware::from_fn(web::boundary));
    let Some(cors) = cors.layer() else {
        return app;
    };
    let open = ServiceExt::<Request>::map_response(cors.layer(app), web::hide_rules);
    Router::new().fallback_service(open)
}

/// The same of a function, as the environment describes it.
///
/// # Errors
/// Names the variable that is missing or cannot be read.
pub async fn app_from_env<Pending>(
    env: Env,
    from_env: impl FnOnce(Env) -> Pending,
) -> Result<Router, ConfigError>
where
    Pending: Future<Output = Result<OpenApiRouter, ConfigError>>,
{
    let cors = Cors::from_env(&env)?;
    Ok(app(from_env(env).await?, &cors))
}

/// Serves HTTP events (API Gateway REST and HTTP API payloads), one at a time, until the
/// sandbox is taken away.
///
/// Every answer, a short JSON one too, goes out in the streaming form: JSON prelude, eight
/// NULs, body. API Gateway understands that through a streaming integration only, so every
/// route of a function needs `ResponseTransferMode: RESPONSE_STREAM` in the template.
///
/// # Errors
/// When the configuration is not complete, or the Runtime API cannot be talked to; Lambda
/// then replaces the process.
pub async fn serve<Pending>(from_env: impl FnOnce(Env) -> Pending) -> Result<(), Error>
where
    Pending: Future<Output = Result<OpenApiRouter, ConfigError>>,
{
    run(start(|env| app_from_env(env, from_env)).await?).await
}

/// Serves HTTP events with a router as it is, outside any boundary.
///
/// # Errors
/// When the Runtime API cannot be talked to.
pub async fn run(router: Router) -> Result<(), Error> {
    lambda_http::run_with_streaming_response(router.map_request(introduce)).await
}

/// Serves plain events (schedules, queues, direct invocations), one at a time, until the
/// sandbox is taken away. What `from_env` makes is made once and handed to each.
///
/// The handler's error becomes the invocation's: its `Display` is what Lambda logs and hands
/// to a caller, so it must hold nothing secret. An event that is no `Event` is answered with
/// an error without the handler being called. Every line that the handler logs has the
/// request id and, where there is a trace, its root.
///
/// # Errors
/// As [`serve`].
pub async fn handle<AppState, Starting, Event, Answer, Failure, Pending>(
    from_env: impl FnOnce(Env) -> Starting,
    handler: impl Fn(AppState, Invocation<Event>) -> Pending,
) -> Result<(), Error>
where
    AppState: Clone,
    Starting: Future<Output = Result<AppState, ConfigError>>,
    Pending: Future<Output = Result<Answer, Failure>>,
    Event: DeserializeOwned,
    Answer: Serialize,
    Failure: Into<Error>,
{
    let tools = start(from_env).await?;
    let service = |LambdaEvent { payload, context }: LambdaEvent<Event>| {
        let invocation = Invocation {
            event: payload,
            ends_at: invocation::ends_at(&context),
        };
        let answer = handler(tools.clone(), invocation);
        let origin = RequestContext::new(&context.request_id, invocation::trace(&context));
        let span = tracing::info_span!(
            "invocation",
            request_id = origin.request_id(),
            trace_id = origin.trace_id()
        );
        let answer = async { answer.await.map_err(diagnostic) };
        origin.scope(answer).instrument(span)
    };
    lambda_runtime::run(lambda_runtime::service_fn(service)).await
}

/// What every function does once, before its first event.
async fn start<AppState, Pending>(from_env: impl FnOnce(Env) -> Pending) -> Result<AppState, Error>
where
    Pending: Future<Output = Result<AppState, ConfigError>>,
{
    let env = Env::from_process();
    telemetry::start(&env);
    // Boxed, for the SDK's futures are large and are needed once.
    Box::pin(from_env(env)).await.map_err(|err| {
        tracing::error!(cause = telemetry::chain(&err), "cannot start");
        err.into()
    })
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
    if let Some(context) = request.lambda_context_ref().cloned() {
        invocation::introduce(&context, request.extensions_mut());
    }
    request
}
