//! Connects Parlor's routers and event handlers to AWS Lambda.
//!
//! The `main.rs` of each function calls this crate.
//!
//! Neither a panic before the response nor an event of the wrong shape ends the process. The
//! invocation returns an error, which API Gateway turns into a 502, and the next one is served.
//!
//! A panic in the middle of a stream cannot be reported: the stream ends cleanly with status 200.
//! So each stream needs a last event that marks it as complete.
//!
//! On Lambda Managed Instances, one process handles several HTTP events at once. Lambda then sets
//! `AWS_LAMBDA_MAX_CONCURRENCY`, so the same binary serves both kinds of capacity. All events share
//! one thread: `main` starts a `current_thread` runtime, and an environment has one vCPU.

mod flush;
mod invocation;
mod workers;

use axum::{Router, extract::Request, middleware};
use common::{
    platform::{
        env::{ConfigError, Env},
        request_context::RequestContext,
        telemetry, traces, version,
    },
    web::{self, Cors},
};
use lambda_http::RequestExt as _;
use lambda_runtime::{Diagnostic, LambdaEvent, layers::TracingLayer};
use serde::{Serialize, de::DeserializeOwned};
use tower::{Layer as _, ServiceExt};
use tracing::Instrument as _;
use utoipa_axum::router::OpenApiRouter;

pub use invocation::Invocation;
pub use lambda_runtime::Error;

/// Adds to a router the responses to unknown paths and methods, the boundary that renders errors,
/// and CORS.
///
/// CORS is outermost, so that a page of another origin can read errors too. It wraps the whole
/// router: as a layer of the router, axum would add the path's methods to a preflight response.
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

/// Builds the router of a function from the environment, and wraps it with [`app`].
///
/// # Errors
/// The error names the variable that is missing or not valid.
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

/// Serves HTTP events (API Gateway REST and HTTP API payloads) until Lambda stops the sandbox.
///
/// Up to `AWS_LAMBDA_MAX_CONCURRENCY` events are served at once. Without the variable, it is one.
///
/// Every response, even short JSON, is sent in the streaming format: JSON prelude, eight NULs,
/// body. API Gateway reads that only through a streaming integration. So every route of a function
/// needs `ResponseTransferMode: RESPONSE_STREAM` in the template.
///
/// # Errors
/// The configuration is incomplete, or the Runtime API is unreachable. Lambda then replaces the
/// process.
pub async fn serve<Pending>(from_env: impl FnOnce(Env) -> Pending) -> Result<(), Error>
where
    Pending: Future<Output = Result<OpenApiRouter, ConfigError>>,
{
    run(start(|env| app_from_env(env, from_env)).await?).await
}

/// Serves HTTP events with a router as it is, without [`app`].
///
/// # Errors
/// The Runtime API is unreachable.
pub async fn run(router: Router) -> Result<(), Error> {
    // As `run_with_streaming_response_concurrent`, which has no place for another layer.
    let service = router
        .map_request(insert_context as fn(_) -> _)
        .map_response(flush::at_the_end as fn(_) -> _);
    let runtime = lambda_http::streaming_runtime_concurrent(service).layer(TracingLayer::new());
    if workers::are_several(&Env::from_process()) {
        runtime.layer(workers::KeepWorkers).run_concurrent().await
    } else {
        runtime.run_concurrent().await
    }
}

/// Serves non-HTTP events (schedules, queues, direct invocations), one at a time, until Lambda
/// stops the sandbox. `from_env` runs once; each call of the handler receives a clone of its
/// result.
///
/// An error of the handler becomes the error of the invocation. Lambda logs its `Display` text and
/// returns it to the caller, so it must contain no secret. If the payload is not an `Event`, the
/// invocation fails and the handler is not called. Each log line of the handler has the request id
/// and the root of the trace, if there is one.
///
/// # Errors
/// As [`serve`].
pub async fn handle<AppState, Starting, Event, Output, Failure, Pending>(
    from_env: impl FnOnce(Env) -> Starting,
    handler: impl Fn(AppState, Invocation<Event>) -> Pending,
) -> Result<(), Error>
where
    AppState: Clone,
    Starting: Future<Output = Result<AppState, ConfigError>>,
    Pending: Future<Output = Result<Output, Failure>>,
    Event: DeserializeOwned,
    Output: Serialize,
    Failure: Into<Error>,
{
    let state = start(from_env).await?;
    let service = |LambdaEvent { payload, context }: LambdaEvent<Event>| {
        let invocation = Invocation {
            event: payload,
            ends_at: invocation::ends_at(&context),
        };
        let outcome = handler(state.clone(), invocation);
        let traced = invocation::span(&context);
        let origin = RequestContext::new(&context.request_id, invocation::trace(&context))
            .with_span(traced.clone());
        let span = tracing::info_span!(
            "invocation",
            request_id = origin.request_id(),
            trace_id = origin.trace_id().as_deref()
        );
        let outcome = async move {
            let outcome = outcome.await.map_err(diagnostic);
            if let Err(failure) = &outcome {
                traced.fail(&failure.error_type);
            }
            traced.end();
            traces::flush().await;
            outcome
        };
        origin.scope(outcome).instrument(span)
    };
    lambda_runtime::run(lambda_runtime::service_fn(service)).await
}

/// Starts the log and reads the configuration. Runs once, before the first event.
async fn start<AppState, Pending>(from_env: impl FnOnce(Env) -> Pending) -> Result<AppState, Error>
where
    Pending: Future<Output = Result<AppState, ConfigError>>,
{
    let env = Env::from_process();
    telemetry::start(&env);
    traces::export_in_background();
    tracing::info!(version = version::text(), "function starts");
    // Boxed because the SDK's futures are large and needed only once.
    Box::pin(from_env(env)).await.map_err(|err| {
        tracing::error!(cause = telemetry::chain(&err), "function cannot start");
        err.into()
    })
}

/// The error type is the name of the Rust type. Alarms can filter by it.
fn diagnostic<Failure: Into<Error>>(failure: Failure) -> Diagnostic {
    Diagnostic {
        error_type: std::any::type_name::<Failure>().to_owned(),
        error_message: failure.into().to_string(),
    }
}

/// Copies request id, trace and deadline of the invocation into the request.
fn insert_context(mut request: lambda_http::Request) -> lambda_http::Request {
    if let Some(context) = request.lambda_context_ref().cloned() {
        invocation::insert_context(&context, request.extensions_mut());
    }
    request
}
