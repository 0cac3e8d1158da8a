//! Emulates API Gateway (REST): routes, limits of integrations, and its own error responses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::any;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::json;

use super::event::{Receipt, proxy_event};
use super::function::Function;
use super::outcome::{FunctionError, Outcome};
use super::{Emulator, Error, new_id, new_trace, now};

const REQUEST_LIMIT: usize = 10 * 1024 * 1024;
const BUFFERED_LIMIT: Duration = Duration::from_secs(29);
const STREAMING_LIMIT: Duration = Duration::from_mins(15);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// A method of a path, and its function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// `GET` does not include `HEAD`.
    pub method: Method,
    /// The path template as in `template.yaml`, such as `/api/xcx/chat/{chatId}/messages`.
    pub path: String,
    /// Name of the function.
    pub function: String,
    /// True for a streaming integration, which is limited to 15 minutes. A buffered one sends the
    /// response when it is complete and is limited to 29 s. A response of the wrong kind is
    /// malformed.
    pub streaming: bool,
}

/// The methods of one resource.
struct Resource {
    path: String,
    integrations: Vec<(Method, Integration)>,
}

#[derive(Clone)]
struct Integration {
    function: Arc<Function>,
    streaming: bool,
}

pub(super) fn router(emulator: &Emulator, routes: Vec<Route>) -> Result<Router, Error> {
    let mut resources = BTreeMap::<String, Resource>::new();
    for route in routes {
        let integration = Integration {
            function: Arc::clone(emulator.function(&route.function)?),
            streaming: route.streaming,
        };
        let resource = resources
            .entry(route.path)
            .or_insert_with_key(|path| Resource {
                path: path.clone(),
                integrations: Vec::new(),
            });
        resource.integrations.push((route.method, integration));
    }
    let keep_processes = emulator.clone();
    let not_found = move || {
        // The router owns a clone of the emulator, so the processes live as long as the router.
        let _ = &keep_processes;
        std::future::ready(not_found(&Receipt::new()))
    };
    let mut app = Router::new().fallback(not_found);
    for (path, resource) in resources {
        let resource = Arc::new(resource);
        let serve = move |request: Request| Arc::clone(&resource).serve(request);
        app = app.route(&axum_path(&path), any(serve));
    }
    Ok(app)
}

/// Converts `{rest+}` to axum's `{*rest}`.
fn axum_path(path: &str) -> String {
    let segment = |segment: &str| match segment
        .strip_prefix('{')
        .and_then(|name| name.strip_suffix("+}"))
    {
        Some(greedy) => format!("{{*{greedy}}}"),
        None => segment.to_owned(),
    };
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

impl Receipt {
    fn new() -> Self {
        Self {
            request_id: new_id().to_string(),
            trace_id: new_trace(),
            time: now(),
        }
    }
}

impl Resource {
    async fn serve(self: Arc<Self>, request: Request) -> Response<Body> {
        let receipt = Receipt::new();
        let integration = self
            .integrations
            .iter()
            .find(|(method, _)| method == request.method());
        let mut response = match integration {
            Some((_, integration)) => integration.serve(&self.path, request, &receipt).await,
            None => not_found(&receipt),
        };
        for (name, value) in [
            (REQUEST_ID, &receipt.request_id),
            (TRACE_ID, &receipt.trace_id),
        ] {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

impl Integration {
    async fn serve(&self, resource: &str, request: Request, receipt: &Receipt) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = match Limited::new(body, REQUEST_LIMIT).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return gateway_error(StatusCode::PAYLOAD_TOO_LARGE, "Request Too Long");
            }
            Err(_) => return gateway_error(StatusCode::BAD_REQUEST, "Bad Request"),
        };
        let event = proxy_event(resource, &parts, &body, receipt);
        let limit = if self.streaming {
            STREAMING_LIMIT
        } else {
            BUFFERED_LIMIT
        };
        match tokio::time::timeout(limit, self.invoke(event.to_string())).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                tracing::warn!(%error, resource, "function returned no usable response");
                gateway_error(StatusCode::BAD_GATEWAY, "Internal server error")
            }
            Err(_) => gateway_error(StatusCode::GATEWAY_TIMEOUT, "Endpoint request timed out"),
        }
    }

    async fn invoke(&self, event: String) -> Result<Response<Body>, FunctionError> {
        let outcome = self.function.invoke(event.into()).await;
        match (&outcome, self.streaming) {
            (Outcome::Response(_), true) => Err(mismatch("a streaming", "a buffered")),
            (Outcome::Stream(_), false) => Err(mismatch("a buffered", "a streamed")),
            _ => outcome.into_http().await,
        }
    }
}

/// Lambda passes both kinds of response to both kinds of integration as raw bytes. A response of
/// the wrong kind does not have the format that the integration expects.
fn mismatch(integration: &str, response: &str) -> FunctionError {
    let message = format!("{integration} integration received {response} response");
    FunctionError::new("MalformedProxyResponse", message)
}

/// The response to an unknown path or method. API Gateway returns a misleading 403, which
/// `template.yaml` replaces with this 404. It always has the error format of the mini-program,
/// because the gateway does not know which API the caller uses.
fn not_found(receipt: &Receipt) -> Response<Body> {
    let body = json!({
        "detail": "内容不存在",
        "code": "not_found",
        "requestId": receipt.request_id,
    });
    let headers = [("x-request-id", receipt.request_id.clone())];
    (StatusCode::NOT_FOUND, headers, axum::Json(body)).into_response()
}

fn gateway_error(status: StatusCode, message: &str) -> Response<Body> {
    let kind = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "RequestTooLargeException",
        StatusCode::BAD_REQUEST => "BadRequestException",
        _ => "InternalServerErrorException",
    };
    let body = axum::Json(json!({"message": message}));
    (status, [(ERROR_TYPE, kind)], body).into_response()
}
