//! Which web pages may call: those of configured origins, and no other.

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

/// What a browser may send besides what it always may.
const SENT: [HeaderName; 5] = [
    ACCEPT,
    AUTHORIZATION,
    CONTENT_TYPE,
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("last-event-id"),
];
/// What a page may read of an answer besides its body and what it always may.
const READ: [HeaderName; 3] = [CONTENT_DISPOSITION, RETRY_AFTER, X_REQUEST_ID];
/// What all routes together have.
const METHODS: [Method; 5] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
];
/// Two hours, as long as any browser remembers; each preflight is an invocation.
const REMEMBERED: Duration = Duration::from_secs(7200);

/// The rules for pages of other origins. A token is in a header that a page sets itself, so no
/// page needs credentials, which are never allowed.
#[derive(Clone, Debug)]
pub struct Cors(Option<CorsLayer>);

impl Cors {
    /// No page of another origin may call.
    pub fn closed() -> Self {
        Self(None)
    }

    /// Reads `CORS_ALLOWED_ORIGINS`: exact origins, separated by commas. Closed without it.
    ///
    /// # Errors
    /// Names the variable when something in it is no origin.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let Some(list) = env.text(VARIABLE) else {
            return Ok(Self::closed());
        };
        let origins = list.split(',').map(|text| origin(text.trim()));
        let origins = origins.collect::<Result<Vec<_>, _>>();
        let origins = origins.map_err(|expected| ConfigError::Invalid {
            name: VARIABLE.to_owned(),
            expected,
        })?;
        Ok(Self(Some(
            CorsLayer::new()
                .allow_origin(AllowOrigin::list(origins))
                .allow_methods(METHODS)
                .allow_headers(SENT)
                .expose_headers(READ)
                .max_age(REMEMBERED)
                .vary([ORIGIN]),
        )))
    }

    /// The layer that goes around everything else, with [`hide_rules`] around it; none where all is closed.
    pub fn layer(&self) -> Option<&CorsLayer> {
        self.0.as_ref()
    }
}

/// Leaves to an origin that is not allowed only that answers differ by origin.
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

/// One line for all of `Vary`: the head of a streamed answer is JSON, where API Gateway expects one text for each name.
fn join_vary(headers: &mut HeaderMap) {
    let values = headers.get_all(VARY).into_iter();
    let values: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    if values.len() > 1
        && let Ok(joined) = HeaderValue::from_str(&values.join(", "))
    {
        headers.insert(VARY, joined);
    }
}

/// An origin as browsers write it, or what was expected instead.
fn origin(text: &str) -> Result<HeaderValue, &'static str> {
    const EXPECTED: &str = "exact origins as browsers send them, such as https://desk.example.com, separated by commas";
    if text == "*" {
        return Err("exact origins, not *: any page that gets hold of a token could use it");
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
    fn origins_are_read_as_browsers_write_them() {
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
    fn what_is_no_origin_is_refused_by_the_variables_name() {
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
