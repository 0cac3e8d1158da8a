//! What everything that asks AWS has in common.

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

/// How long a connection may take; what the SDK grants one.
const CONNECT: Duration = Duration::from_millis(3100);
/// How long one try may take. A secret or a message is a matter of milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Region, credentials and endpoint from the variables that Lambda sets, and the program's own HTTP
/// client. `text` reads a variable.
///
/// The SDK's own search for them, in profiles, metadata and roles to assume, and its own client, with HTTP/2 that nobody
/// asks for, would be a sixth of every binary; and that one begins with reading the system's root certificates.
pub(crate) fn config<'a>(text: impl Fn(&str) -> Option<&'a str>) -> SdkConfig {
    let keys = text("AWS_ACCESS_KEY_ID").zip(text("AWS_SECRET_ACCESS_KEY"));
    let credentials = keys.map(|(id, secret)| {
        let session_token = text("AWS_SESSION_TOKEN").map(str::to_owned);
        // They hold for as long as the instance that was given them.
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

/// As the SDK does by itself. Connections are the HTTP client's business.
pub(crate) fn retries() -> RetryConfig {
    RetryConfig::standard().with_reconnect_mode(ReconnectMode::ReuseAllConnections)
}

/// What the SDK has sent; it signs and tries again itself.
#[derive(Clone, Debug)]
struct Http(Option<reqwest::Client>);

impl Http {
    fn new() -> Self {
        let client = http_client::client()
            .map(|client| client.connect_timeout(CONNECT).timeout(PATIENCE))
            .ok()
            .and_then(|client| client.build().ok());
        Self(client)
    }

    async fn send(self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let client = self.0.ok_or("there is no TLS").map_err(misused)?;
        let method = Method::from_bytes(request.method().as_bytes()).map_err(misused)?;
        let body = request.body().bytes().ok_or("a body of unknown length");
        let body = body.map_err(misused)?.to_vec();
        let mut asking = client.request(method, request.uri()).body(body);
        for (name, value) in request.headers() {
            asking = asking.header(name, value);
        }
        let answer = asking.send().await.map_err(unanswered)?;
        let status = StatusCode::try_from(answer.status().as_u16()).map_err(misused)?;
        let headers = answer.headers().clone();
        let body = answer.bytes().await.map_err(unanswered)?;
        let mut response = HttpResponse::new(status, body.into());
        for (name, value) in &headers {
            // Names and values that are no text are nothing that the SDK reads.
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

/// Nothing that another try would change.
fn misused(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ConnectorError {
    ConnectorError::user(error.into())
}

/// Whether it is tried again depends on which it is.
fn unanswered(error: reqwest::Error) -> ConnectorError {
    if error.is_timeout() {
        ConnectorError::timeout(error.into())
    } else {
        ConnectorError::io(error.into())
    }
}
