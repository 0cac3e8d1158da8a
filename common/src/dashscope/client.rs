//! The client: sends requests and interprets responses.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Response, Url};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, timeout_at};

use super::answer::{Answer, AnswerStream, Body, Limits, header};
use super::config::{Config, ConfigError, KeySource, Retries, Timeouts, check_workspace};
use super::connections::Connections;
use super::end::End;
use super::error::{Error, ErrorDetails, TimeoutKind};
use super::frames::{Frame, FrameReader};
use super::progress::ProgressSender;
use super::span::CallSpan;
use super::wire::{Payload, request_body};
use super::{Call, retry};
use crate::platform::http_client;

const SSE: HeaderName = HeaderName::from_static("x-dashscope-sse");
const WORKSPACE: HeaderName = HeaderName::from_static("x-dashscope-workspace");
const TRACE: HeaderName = HeaderName::from_static("x-amzn-trace-id");
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Limits for reading the body of an error: bytes and time.
const ERROR_BODY: usize = 64 * 1024;
const ERROR_BODY_TIME: Duration = Duration::from_secs(5);

/// All characters except the unreserved ones of RFC 3986.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A client of one deployment. Clones share connections and the current key.
#[derive(Debug, Clone)]
pub struct DashScope {
    inner: Arc<Inner>,
    progress: Option<ProgressSender>,
}

#[derive(Debug)]
struct Inner {
    base_url: String,
    key: RwLock<Arc<Key>>,
    key_source: Option<Arc<dyn KeySource>>,
    headers: HeaderMap,
    timeouts: Timeouts,
    retries: Retries,
    max_answer: usize,
    keep_alive: Duration,
    connections: Connections,
    http: OnceLock<reqwest::Client>,
    /// Only prepares connections.
    preparing: OnceLock<reqwest::Client>,
}

/// A key, and the header that contains it.
#[derive(Debug)]
struct Key {
    secret: SecretString,
    header: HeaderValue,
}

/// One request, without the key.
struct Request<'a> {
    url: Url,
    body: Bytes,
    call: &'a Call,
    streaming: bool,
    end: End,
}

impl DashScope {
    /// Checks the configuration. The HTTP client is built at the first call, which keeps a cold
    /// start short.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        Ok(Self {
            inner: Arc::new(Inner {
                base_url: check_base_url(config.base_url)?,
                key: RwLock::new(Arc::new(Key::new(config.api_key)?)),
                key_source: config.key_source,
                headers: headers(config.workspace)?,
                timeouts: config.timeouts,
                retries: config.retries,
                max_answer: config.max_answer,
                keep_alive: config.keep_alive,
                connections: Connections::new(config.keep_alive),
                http: OnceLock::new(),
                preparing: OnceLock::new(),
            }),
            progress: None,
        })
    }

    /// This client, which sends the progress of each answer until its first text to `progress`.
    #[must_use]
    pub fn reporting_to(&self, progress: ProgressSender) -> Self {
        Self {
            progress: Some(progress),
            ..self.clone()
        }
    }

    /// Opens a connection for the next call in the background, unless one is idle. So the call need
    /// not wait for DNS, TCP and TLS. Must be called in a tokio runtime.
    pub fn prepare_connection(&self) {
        let inner = Arc::clone(&self.inner);
        let request = move || Some(inner.preparing()?.get(&inner.base_url));
        self.inner.connections.prepare(request);
    }

    /// Requests an answer in pieces. Returns at the first text, or at the end of an answer without
    /// text. Failures before that are retried. `deadline` limits the retries and the stream.
    pub async fn stream(&self, call: &Call, deadline: Instant) -> Result<AnswerStream, Error> {
        self.open(call, true, deadline).await
    }

    /// Requests a whole answer.
    pub async fn complete(&self, call: &Call, deadline: Instant) -> Result<Answer, Error> {
        self.open(call, false, deadline).await?.collect().await
    }

    async fn open(
        &self,
        call: &Call,
        streaming: bool,
        deadline: Instant,
    ) -> Result<AnswerStream, Error> {
        let end = End::of(deadline, self.inner.timeouts.overall_of(call));
        let url = self.url(&call.app_id)?;
        let mut span = CallSpan::start(call, &url, streaming);
        let body = request_body(call, streaming).map_err(|source| Error::Protocol {
            details: Box::default(),
            source: Some(Box::new(source)),
        })?;
        let body = Bytes::from(body);
        let request = Request {
            url,
            body,
            call,
            streaming,
            end,
        };
        let key_retries = AtomicU32::new(0);
        let attempt = || self.attempt(&request, &key_retries);
        let outcome = retry::run(&self.inner.retries, end.at, call.has_fallback, attempt).await;
        let key_retries = key_retries.into_inner();
        match outcome {
            Ok((mut answer, attempts, earlier)) => {
                answer.attempts = attempts + key_retries;
                answer.earlier = earlier;
                answer.span = span;
                Ok(answer)
            }
            Err(mut error) => {
                error.details_mut().attempts += key_retries;
                span.failed(&error);
                Err(error)
            }
        }
    }

    /// Sends the request. If the service rejects the key and another key is known, sends it again
    /// with that key, and counts that in `key_retries`. The rejection is then not reported.
    async fn attempt(
        &self,
        request: &Request<'_>,
        key_retries: &AtomicU32,
    ) -> Result<AnswerStream, Error> {
        let key = self.key();
        let rejection = match self.attempt_with(&key, request).await {
            Err(error) if error.is_rejected_key() => error,
            outcome => return outcome,
        };
        let Some(key) = self.other_key(&key, request.end).await else {
            return Err(rejection);
        };
        key_retries.fetch_add(1, Ordering::Relaxed);
        self.attempt_with(&key, request).await
    }

    fn key(&self) -> Arc<Key> {
        let key = self.inner.key.read();
        Arc::clone(&key.unwrap_or_else(PoisonError::into_inner))
    }

    /// A key other than the rejected one, from another call or from the key source.
    async fn other_key(&self, rejected: &Arc<Key>, end: End) -> Option<Arc<Key>> {
        let known = self.key();
        if !Arc::ptr_eq(&known, rejected) {
            return Some(known);
        }
        let source = self.inner.key_source.as_ref()?;
        let secret = timeout_at(end.at, source.refresh_after_rejection(&rejected.secret)).await;
        let key = Arc::new(Key::new(secret.ok()??).ok()?);
        let kept = self.inner.key.write();
        *kept.unwrap_or_else(PoisonError::into_inner) = Arc::clone(&key);
        Some(key)
    }

    async fn attempt_with(&self, key: &Key, request: &Request<'_>) -> Result<AnswerStream, Error> {
        let Request {
            ref url,
            ref body,
            call,
            streaming,
            end,
        } = *request;
        let session_id = call.session_id.as_deref();
        let timeouts = &self.inner.timeouts;
        let first_token = streaming.then(|| Instant::now() + timeouts.first_token_of(call));
        let wait = match first_token {
            Some(first_token) => end.or_sooner(first_token, TimeoutKind::FirstToken),
            None => end,
        };
        if Instant::now() >= wait.at {
            return Err(Error::Timeout {
                which: wait.which,
                details: Box::default(),
            });
        }
        let mut request = self
            .http()?
            .post(url.clone())
            .headers(self.inner.headers.clone())
            .header(AUTHORIZATION, key.header.clone())
            .body(body.clone());
        if streaming {
            request = request
                .header(SSE, "enable")
                .header(ACCEPT, "text/event-stream")
                .header(ACCEL_BUFFERING, "no")
                .header(CACHE_CONTROL, "no-cache");
        } else {
            request = request.header(ACCEPT, "application/json");
        }
        if let Some(trace) = &call.trace {
            request = request.header(TRACE, trace.clone());
        }
        self.inner.connections.call_begins();
        let response = match timeout_at(wait.at, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(transport_error(error)),
            Err(_) => {
                let details = Box::new(ErrorDetails {
                    may_have_cost: true,
                    ..ErrorDetails::default()
                });
                return Err(Error::Timeout {
                    which: wait.which,
                    details,
                });
            }
        };
        if !response.status().is_success() {
            let error = response_error(response, end).await;
            return Err(if session_id.is_some() {
                error.or_session_expired()
            } else {
                error
            });
        }
        // The server sends nothing until a whole answer is complete, so there is no idle timeout.
        let idle = if streaming {
            timeouts.idle
        } else {
            timeouts.overall_of(call)
        };
        let limits = Limits {
            first_token,
            end,
            idle,
            bytes: self.inner.max_answer,
        };
        let body = Body {
            response,
            connections: self.inner.connections.clone(),
        };
        AnswerStream::begin(body, session_id, limits, self.progress.as_ref()).await
    }

    /// The URL of an application. `.` and `..` are rejected: even encoded, they would change the
    /// path.
    fn url(&self, app_id: &str) -> Result<Url, Error> {
        let segment = utf8_percent_encode(app_id, SEGMENT);
        let url = Url::parse(&format!(
            "{}/apps/{segment}/completion",
            self.inner.base_url
        ));
        match url {
            Ok(url) if !matches!(app_id, "" | "." | "..") => Ok(url),
            _ => Err(Error::Misconfigured {
                details: Box::new(ErrorDetails {
                    message: Some("the application id is not valid".to_owned()),
                    ..ErrorDetails::default()
                }),
            }),
        }
    }

    fn http(&self) -> Result<&reqwest::Client, Error> {
        let inner = &self.inner;
        let build = || {
            Ok(inner
                .builder()?
                .pool_idle_timeout(inner.keep_alive)
                .build()?)
        };
        built(&inner.http, build).map_err(|source| Error::Unavailable {
            details: Box::default(),
            source: Some(source),
        })
    }
}

impl Inner {
    /// A client without a pool. `None` if it cannot be built: the next call reports the cause.
    fn preparing(&self) -> Option<&reqwest::Client> {
        let build = || Ok(self.builder()?.pool_max_idle_per_host(0).build()?);
        built(&self.preparing, build).ok()
    }

    fn builder(&self) -> Result<reqwest::ClientBuilder, rustls::Error> {
        Ok(http_client::client()?
            .connect_timeout(self.timeouts.connect)
            .connector_layer(self.connections.clone()))
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The client in `cell`, which is built at the first use.
fn built(
    cell: &OnceLock<reqwest::Client>,
    build: impl FnOnce() -> Result<reqwest::Client, BoxError>,
) -> Result<&reqwest::Client, BoxError> {
    if let Some(http) = cell.get() {
        return Ok(http);
    }
    let http = build()?;
    Ok(cell.get_or_init(|| http))
}

fn check_base_url(base_url: String) -> Result<String, ConfigError> {
    let trimmed = base_url.trim_end_matches('/');
    let fits = Url::parse(trimmed).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.query().is_none()
            && url.fragment().is_none()
    });
    if fits {
        Ok(trimmed.to_owned())
    } else {
        Err(ConfigError::BaseUrl(base_url))
    }
}

impl Key {
    fn new(secret: SecretString) -> Result<Self, ConfigError> {
        let key = secret.expose_secret().trim();
        if key.is_empty() {
            return Err(ConfigError::ApiKey);
        }
        let mut header =
            HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| ConfigError::ApiKey)?;
        header.set_sensitive(true);
        Ok(Self { secret, header })
    }
}

fn headers(workspace: Option<String>) -> Result<HeaderMap, ConfigError> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(id) = workspace {
        check_workspace(&id)?;
        let value = HeaderValue::try_from(&id).map_err(|_| ConfigError::Workspace(id))?;
        headers.insert(WORKSPACE, value);
    }
    Ok(headers)
}

/// The error of a request without a response. It may have arrived and used tokens, unless there was
/// no connection.
fn transport_error(error: reqwest::Error) -> Error {
    let details = Box::new(ErrorDetails {
        may_have_cost: !error.is_connect(),
        is_closed: error.is_request() && !error.is_connect() && !error.is_timeout(),
        ..ErrorDetails::default()
    });
    Error::Unavailable {
        details,
        source: Some(Box::new(error.without_url())),
    }
}

/// The error of a response outside 2xx. Its body is JSON, a frame with JSON (with any content
/// type), or the page of a gateway.
async fn response_error(mut response: Response, end: End) -> Error {
    let retry_after = retry::retry_after(response.headers());
    let details = ErrorDetails {
        status: Some(response.status().as_u16()),
        request_id: header(&response, "x-request-id"),
        ..ErrorDetails::default()
    };
    let body = read_error_body(&mut response, end).await;
    let mut frames = FrameReader::new();
    frames.push(body.clone());
    frames.close();
    while let Ok(Some(frame)) = frames.next() {
        if let Ok(payload) = Payload::parse(&frame.data) {
            return Error::named(details.with_frame(&frame, Some(payload)), retry_after);
        }
    }
    let page = Frame {
        data: body.trim_ascii().to_vec(),
        ..Frame::default()
    };
    Error::named(details.with_frame(&page, None), retry_after)
}

/// Reads the start of the body, which contains the error. A failed read ends the body.
async fn read_error_body(response: &mut Response, end: End) -> Bytes {
    let until = end.at.min(Instant::now() + ERROR_BODY_TIME);
    let mut body = Vec::new();
    while body.len() < ERROR_BODY
        && let Ok(Ok(Some(chunk))) = timeout_at(until, response.chunk()).await
    {
        let room = ERROR_BODY - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }
    body.into()
}

#[cfg(test)]
#[path = "tests/client_properties.rs"]
mod properties;
