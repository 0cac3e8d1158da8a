//! Shared configuration and HTTP connector of the AWS SDK clients.

use std::time::Duration;

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_sdk_secretsmanager::config::{
    BehaviorVersion, Region,
    retry::{ReconnectMode, RetryConfig},
};
use aws_smithy_runtime_api::{
    client::{
        http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
    },
    http::StatusCode,
};
use aws_types::SdkConfig;
use reqwest::Method;

use crate::platform::http_client;

/// The same as the SDK's default.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3100);
/// Limit of one attempt. A secret or a message usually takes milliseconds.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// Takes region, credentials and endpoint from the variables that Lambda sets, and uses our own
/// HTTP client. `text` reads a variable.
///
/// The SDK's default provider chain (profiles, metadata, assumed roles) and its HTTP client with
/// HTTP/2 would be a sixth of every binary. Its client also reads the root certificates of the
/// system at the start.
pub(crate) fn config<'a>(text: impl Fn(&str) -> Option<&'a str>) -> SdkConfig {
    let keys = text("AWS_ACCESS_KEY_ID").zip(text("AWS_SECRET_ACCESS_KEY"));
    let credentials = keys.map(|(id, secret)| {
        let session_token = text("AWS_SESSION_TOKEN").map(str::to_owned);
        // They are valid for the lifetime of the sandbox.
        let credentials = Credentials::new(id, secret, session_token, None, "environment");
        SharedCredentialsProvider::new(credentials)
    });
    let region = text("AWS_REGION").map(str::to_owned);
    let connector = SharedHttpConnector::new(Http::new());
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http_client_fn(move |_, _| connector.clone()))
        .retry_config(retries())
        .region(region.map(Region::new));
    config.set_credentials_provider(credentials);
    config.set_endpoint_url(text("AWS_ENDPOINT_URL").map(str::to_owned));
    config.build()
}

/// The SDK's standard retries. The HTTP client manages the connections.
pub(crate) fn retries() -> RetryConfig {
    RetryConfig::standard().with_reconnect_mode(ReconnectMode::ReuseAllConnections)
}

/// Sends the SDK's requests. The SDK signs and retries them.
#[derive(Clone, Debug)]
struct Http(Option<reqwest::Client>);

impl Http {
    fn new() -> Self {
        let client = http_client::client()
            .map(|client| {
                client
                    .connect_timeout(CONNECT_TIMEOUT)
                    .timeout(ATTEMPT_TIMEOUT)
            })
            .ok()
            .and_then(|client| client.build().ok());
        Self(client)
    }

    async fn send(self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let client = self.0.ok_or("TLS is not available").map_err(permanent)?;
        let method = Method::from_bytes(request.method().as_bytes()).map_err(permanent)?;
        let body = request.body().bytes().ok_or("the body is a stream");
        let body = body.map_err(permanent)?.to_vec();
        let mut outgoing = client.request(method, request.uri()).body(body);
        for (name, value) in request.headers() {
            outgoing = outgoing.header(name, value);
        }
        let incoming = outgoing.send().await.map_err(transport_error)?;
        let status = StatusCode::try_from(incoming.status().as_u16()).map_err(permanent)?;
        let headers = incoming.headers().clone();
        let body = incoming.bytes().await.map_err(transport_error)?;
        let mut response = HttpResponse::new(status, body.into());
        for (name, value) in &headers {
            // The SDK reads no header whose value is not text.
            if let Ok(value) = value.to_str() {
                response
                    .headers_mut()
                    .append(name.as_str().to_owned(), value.to_owned());
            }
        }
        Ok(response)
    }
}

impl HttpConnector for Http {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::new(Box::pin(self.clone().send(request)))
    }
}

/// An error that a retry cannot fix.
fn permanent(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ConnectorError {
    ConnectorError::user(error.into())
}

/// The SDK decides by the kind of error whether to retry.
fn transport_error(error: reqwest::Error) -> ConnectorError {
    if error.is_timeout() {
        ConnectorError::timeout(error.into())
    } else {
        ConnectorError::io(error.into())
    }
}
