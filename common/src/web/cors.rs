//! CORS: only web pages of configured origins may call the API.

use std::time::Duration;

use axum::response::Response;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri,
    header::{
        ACCEPT, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
        AUTHORIZATION, CONTENT_DISPOSITION, CONTENT_TYPE, ORIGIN, RETRY_AFTER, VARY,
    },
};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::boundary::X_REQUEST_ID;
use crate::platform::env::{ConfigError, Env};

const VARIABLE: &str = "CORS_ALLOWED_ORIGINS";

/// Request headers that a page may send, besides those always allowed.
const REQUEST_HEADERS: [HeaderName; 5] = [
    ACCEPT,
    AUTHORIZATION,
    CONTENT_TYPE,
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("last-event-id"),
];
/// Response headers that a page may read, besides those always allowed.
const RESPONSE_HEADERS: [HeaderName; 3] = [CONTENT_DISPOSITION, RETRY_AFTER, X_REQUEST_ID];
/// The methods of all routes together.
const METHODS: [Method; 5] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
];
/// Browsers cache a preflight for two hours at most. Each preflight is an invocation.
const MAX_AGE: Duration = Duration::from_secs(7200);

/// The CORS rules. Credentials are never allowed: a page sends its token in a header that it sets.
#[derive(Clone, Debug)]
pub struct Cors(Option<CorsLayer>);

/// The origins whose pages may call the API.
#[derive(Clone, Debug, Default)]
pub struct AllowedOrigins(Vec<HeaderValue>);

impl AllowedOrigins {
    /// Reads `CORS_ALLOWED_ORIGINS`: exact origins, separated by commas. None without it.
    ///
    /// # Errors
    /// The error names the variable if it contains anything but origins.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let Some(list) = env.text(VARIABLE) else {
            return Ok(Self::default());
        };
        let origins = list.split(',').map(|text| origin(text.trim()));
        let origins = origins.collect::<Result<_, _>>();
        origins.map(Self).map_err(|expected| ConfigError::Invalid {
            name: VARIABLE.to_owned(),
            expected,
        })
    }

    /// True if the header `Origin` is one of them.
    pub fn contains(&self, origin: &HeaderValue) -> bool {
        self.0.contains(origin)
    }
}

impl Cors {
    /// No page of another origin may call.
    pub fn closed() -> Self {
        Self(None)
    }

    /// Reads `CORS_ALLOWED_ORIGINS`: exact origins, separated by commas. Closed without it.
    ///
    /// # Errors
    /// The error names the variable if it contains anything but origins.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let AllowedOrigins(origins) = AllowedOrigins::from_env(env)?;
        if origins.is_empty() {
            return Ok(Self::closed());
        }
        Ok(Self(Some(
            CorsLayer::new()
                .allow_origin(AllowOrigin::list(origins))
                .allow_methods(METHODS)
                .allow_headers(REQUEST_HEADERS)
                .expose_headers(RESPONSE_HEADERS)
                .max_age(MAX_AGE)
                .vary([ORIGIN]),
        )))
    }

    /// The layer, or `None` if CORS is closed. It wraps all other layers, and [`hide_rules`] wraps
    /// it.
    pub fn layer(&self) -> Option<&CorsLayer> {
        self.0.as_ref()
    }
}

/// Removes the rules from the response to an origin that is not allowed. Only `Vary` remains.
pub fn hide_rules(mut response: Response) -> Response {
    let headers = response.headers_mut();
    if !headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
        for rule in [
            ACCESS_CONTROL_ALLOW_HEADERS,
            ACCESS_CONTROL_ALLOW_METHODS,
            ACCESS_CONTROL_EXPOSE_HEADERS,
            ACCESS_CONTROL_MAX_AGE,
        ] {
            headers.remove(rule);
        }
    }
    join_vary(headers);
    response
}

/// Joins all `Vary` headers into one. The head of a streamed response is JSON, in which API Gateway
/// expects one text per header name.
fn join_vary(headers: &mut HeaderMap) {
    let values = headers.get_all(VARY).into_iter();
    let values: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    if values.len() > 1
        && let Ok(joined) = HeaderValue::from_str(&values.join(", "))
    {
        headers.insert(VARY, joined);
    }
}

/// Checks an origin. It must be spelled as browsers send it. The error describes valid values.
fn origin(text: &str) -> Result<HeaderValue, &'static str> {
    const EXPECTED: &str = "exact origins as browsers send them, separated by commas, \
                            such as https://desk.example.com";
    if text == "*" {
        return Err("exact origins, not *: any page with a stolen token could use it");
    }
    let uri: Uri = text.parse().map_err(|_| EXPECTED)?;
    let default_port = match uri.scheme_str() {
        Some("https") => 443,
        Some("http") => 80,
        _ => return Err(EXPECTED),
    };
    let host = uri.host().unwrap_or_default();
    let port = match uri.port_u16() {
        Some(port) if port == default_port => return Err(EXPECTED),
        Some(port) => format!(":{port}"),
        None => String::new(),
    };
    let scheme = uri.scheme_str().unwrap_or_default();
    let written = format!("{scheme}://{}{port}", host.to_ascii_lowercase());
    if host.is_empty() || host.contains('*') || text != written {
        return Err(EXPECTED);
    }
    HeaderValue::from_str(text).map_err(|_| EXPECTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(list: &str) -> Result<Cors, String> {
        Cors::from_env(&Env::from_pairs([(VARIABLE, list)])).map_err(|err| err.to_string())
    }

    #[test]
    fn origin_as_browsers_send_it_is_valid() {
        for list in [
            "https://desk.example.com",
            "https://desk.example.com,http://127.0.0.1:8080",
            "https://desk.example.com, https://xn--fiq228c.example:8443",
            "http://[::1]:3000",
        ] {
            assert!(read(list).unwrap().layer().is_some(), "{list}");
        }
        assert!(read("").unwrap().layer().is_none());
    }

    #[test]
    fn error_of_an_invalid_origin_names_the_variable() {
        for list in [
            "*",
            "null",
            "desk.example.com",
            "https://",
            "https://desk.example.com/",
            "https://desk.example.com/desk",
            "https://desk.example.com?a=b",
            "https://desk.example.com:443",
            "http://desk.example.com:80",
            "https://Desk.example.com",
            "HTTPS://desk.example.com",
            "https://*.example.com",
            "https://me@desk.example.com",
            "https://desk.example.com,",
            "https://desk.example.com https://a.example.com",
            "https://前台.example.com",
            "wss://desk.example.com",
            ",",
        ] {
            let refusal = read(list).unwrap_err();
            assert!(
                refusal.starts_with("CORS_ALLOWED_ORIGINS "),
                "{list}: {refusal}"
            );
        }
        assert!(
            read("https://desk.example.com,*")
                .unwrap_err()
                .contains("any page")
        );
    }
}
