//! Signing in and out, and the rules for requests with a cookie.
//!
//! The cookie has the token of the business backend. The handlers get it as `Authorization`, and
//! check it as they check any other request.

use std::{fmt::Write as _, sync::Arc};

use askama::Template;
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use common::{
    Error, Result,
    governance::{
        audit,
        auth::{Callers, Role, User},
    },
    platform::{db::Db, error::Reason},
    web::{AllowedOrigins, ErrorInWords, FormText, QueryText},
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri,
    header::{AUTHORIZATION, COOKIE, HOST, LOCATION, ORIGIN, SET_COOKIE},
};

use crate::{error_pages::html, frame::Frame, language::Language, texts::SignInTexts};

const NAME: &str = "parlor_token";
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// How the console treats cookies and other origins.
#[derive(Clone, Debug)]
pub struct SessionRules {
    is_secure: bool,
    /// Pages of these origins may post to `/console/session`.
    origins: Arc<AllowedOrigins>,
}

impl SessionRules {
    /// Cookies are sent only over HTTPS.
    pub fn deployed(origins: AllowedOrigins) -> Self {
        Self {
            is_secure: true,
            origins: Arc::new(origins),
        }
    }

    /// For a laptop: cookies are also sent over HTTP on loopback.
    pub fn local(origins: AllowedOrigins) -> Self {
        Self {
            is_secure: false,
            origins: Arc::new(origins),
        }
    }
}

/// The cookie of a session. Without a path, it is valid for the folder of the URL that sets it.
pub fn cookie(rules: &SessionRules, token: &str, path: Option<&str>) -> String {
    let mut cookie = format!("{NAME}={token}; HttpOnly; SameSite=Strict");
    if rules.is_secure {
        cookie.push_str("; Secure");
    }
    if let Some(path) = path {
        let _ = write!(cookie, "; Path={path}");
    }
    cookie
}

/// The value of a cookie in a request.
pub(crate) fn cookie_value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(COOKIE).iter();
    let pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'));
    let mut pairs = pairs.filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// Redirects to a path that is relative to the path of the request.
pub(crate) fn redirect(to: &str) -> Response {
    let location = HeaderValue::from_str(to).unwrap_or(HeaderValue::from_static("."));
    (StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response()
}

/// The page to show after signing in, relative to a page directly below `/console`. Only pages of
/// the console are accepted.
pub(crate) fn safe_next(next: Option<&str>) -> String {
    next.filter(|target| is_page(target))
        .unwrap_or(DASHBOARD)
        .to_owned()
}

/// The dashboard, relative to a page directly below `/console`.
const DASHBOARD: &str = "../console";

fn is_page(target: &str) -> bool {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let is_below = path.starts_with(|first: char| first.is_ascii_lowercase())
        && !path.contains("//")
        && path
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-/".contains(&byte));
    (path == DASHBOARD || is_below) && query.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The middleware: turns the cookie into `Authorization`, refuses changes by pages of other
/// origins, and drops empty parameters, which forms send for fields without a value.
pub(crate) async fn authenticate(
    State(rules): State<SessionRules>,
    mut request: Request,
    next: Next,
) -> Response {
    let is_change = !matches!(*request.method(), Method::GET | Method::HEAD);
    let is_sign_in = request.uri().path().ends_with("/console/session");
    let has_own_token = has_token(request.headers());
    if is_change && !has_own_token && !is_sign_in && !is_same_origin(request.headers()) {
        return Error::Forbidden.into_response();
    }
    if is_sign_in && is_cross_site(request.headers()) && !rules.allows(request.headers()) {
        return Error::Forbidden.into_response();
    }
    if !has_own_token
        && let Some(token) = cookie_value(request.headers(), NAME)
        && let Ok(value) = HeaderValue::from_str(&format!("Bearer {token}"))
    {
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    if let Some(uri) = without_empty_parameters(request.uri()) {
        *request.uri_mut() = uri;
    }
    next.run(request).await
}

/// True for a request with its own token. The chat page has no token and sends `Bearer` alone.
fn has_token(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    values.any(|value| {
        !value
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"bearer")
    })
}

impl SessionRules {
    /// True on a laptop.
    pub(crate) fn is_local(&self) -> bool {
        !self.is_secure
    }

    fn allows(&self, headers: &HeaderMap) -> bool {
        headers
            .get(ORIGIN)
            .is_some_and(|origin| self.origins.contains(origin))
    }
}

/// True if a browser says that a page of the same origin makes the request. An old browser sends
/// only `Origin`.
fn is_same_origin(headers: &HeaderMap) -> bool {
    match headers.get(SEC_FETCH_SITE) {
        Some(site) => site == "same-origin",
        None => headers.contains_key(ORIGIN) && !is_cross_site(headers),
    }
}

/// True if a browser says that a page of another origin makes the request.
fn is_cross_site(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get(SEC_FETCH_SITE) {
        return site != "same-origin" && site != "none";
    }
    let Some(origin) = headers.get(ORIGIN) else {
        return false;
    };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let origin = origin.to_str().unwrap_or_default();
    let origin_host = origin.split_once("://").map(|(_, host)| host);
    host.is_none() || origin_host != host
}

fn without_empty_parameters(uri: &Uri) -> Option<Uri> {
    let query = uri.query()?;
    // No form sends requests to the API, where an empty value is not a missing one.
    if uri.path().contains("/console/api/") {
        return None;
    }
    let is_given = |pair: &&str| !pair.ends_with('=') && !pair.is_empty();
    let kept: Vec<&str> = query.split('&').filter(is_given).collect();
    let path = uri.path();
    let kept = kept.join("&");
    if kept.len() == query.len() {
        return None;
    }
    let target = if kept.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{kept}")
    };
    target.parse().ok()
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    frame: Frame,
    t: &'static SignInTexts,
    next: String,
    /// Why the token was refused.
    problem: Option<String>,
}

impl SignInPage {
    fn new(headers: &HeaderMap, path: &str, next: Option<&str>) -> Self {
        let frame = Frame::of(headers, path);
        Self {
            t: SignInTexts::of(frame.language),
            frame,
            next: safe_next(next),
            problem: None,
        }
    }
}

/// `GET /console/sign-in`.
pub(crate) async fn show_sign_in(
    uri: Uri,
    query: QueryText,
    headers: HeaderMap,
) -> Result<Response> {
    let page = SignInPage::new(&headers, uri.path(), query.text("next")?);
    html(StatusCode::OK, &page)
}

/// `POST /console/session`: signs in with a token, and shows the page of `next`.
///
/// A post from another origin gets a page with a link instead of a redirect: browsers do not send a
/// strict cookie with a redirect that another origin began.
pub(crate) async fn sign_in(
    State(db): State<Db>,
    State(callers): State<Callers>,
    State(rules): State<SessionRules>,
    uri: Uri,
    headers: HeaderMap,
    form: FormText,
) -> Result<Response> {
    let next = form.text("next")?;
    let user = match user_of(&callers, &form).await {
        Ok(user) => user,
        Err(error) => {
            let mut page = SignInPage::new(&headers, uri.path(), next);
            let words = ErrorInWords::of(&error, page.frame.language == Language::English);
            if words.status.is_server_error() {
                return Err(error);
            }
            page.problem = Some(match error {
                Error::Unauthorized(_) => page.t.refused.to_owned(),
                _ => words.sentence,
            });
            return html(words.status, &page);
        }
    };
    audit::record_session(&db, audit::Action::SignIn, &user).await?;
    let next = safe_next(next);
    let token = form.text("token")?.unwrap_or_default().trim();
    let set = [(SET_COOKIE, cookie(&rules, token, None))];
    if is_cross_site(&headers) {
        let frame = Frame::of(&headers, uri.path());
        let page = ContinuePage {
            t: SignInTexts::of(frame.language),
            frame,
            next,
        };
        return Ok((set, html(StatusCode::OK, &page)?).into_response());
    }
    Ok((set, redirect(&next)).into_response())
}

async fn user_of(callers: &Callers, form: &FormText) -> Result<User> {
    let token = form.text("token")?.map(str::trim);
    callers
        .identify(token.ok_or(Error::invalid("token", Reason::Missing))?)
        .await
}

#[derive(Template)]
#[template(path = "signed_in.html")]
struct ContinuePage {
    frame: Frame,
    t: &'static SignInTexts,
    next: String,
}

/// `POST /console/sign-out`.
pub(crate) async fn sign_out(
    State(db): State<Db>,
    State(rules): State<SessionRules>,
    user: Result<User>,
) -> Result<Response> {
    // An expired session is left without an entry in the audit log.
    if let Ok(user) = user {
        audit::record_session(&db, audit::Action::SignOut, &user).await?;
    }
    let ended = format!("{}; Max-Age=0", cookie(&rules, "", None));
    Ok(([(SET_COOKIE, ended)], redirect("sign-in")).into_response())
}

/// True for users who may see the pages of the desk. Others see only the chat.
pub fn may_read_desk(user: &User) -> bool {
    matches!(user.role, Role::Viewer | Role::SiteAdmin | Role::Admin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_the_console_follow_a_sign_in() {
        for next in [
            "runs?status=failed&site_id=2",
            "../console?days=30",
            "runs/7",
            "jobs",
        ] {
            assert_eq!(safe_next(Some(next)), next);
        }
        for next in [
            "",
            "/",
            "//evil.example",
            "/console",
            "https://evil.example",
            "javascript:alert(1)",
            "../../x",
            "a//b",
            "a/../../x",
            "\\\\evil",
            "runs\n",
            "../consolexyz/..",
        ] {
            assert_eq!(safe_next(Some(next)), "../console", "{next}");
        }
    }

    #[test]
    fn empty_parameters_are_dropped() {
        let left = |uri: &str| {
            let uri: Uri = uri.parse().unwrap();
            without_empty_parameters(&uri).unwrap_or(uri).to_string()
        };
        assert_eq!(
            left("/console/runs?status=&app_type=app1_chat&x="),
            "/console/runs?app_type=app1_chat"
        );
        assert_eq!(left("/console/runs?status="), "/console/runs");
        assert_eq!(left("/console/runs?a=b"), "/console/runs?a=b");
        assert_eq!(left("/console/runs"), "/console/runs");
        let of_api = "/console/api/xcx/chat/messages?contextType=general&contextId=";
        assert_eq!(left(of_api), of_api);
    }

    #[test]
    fn a_change_needs_the_same_origin() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs.iter().map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            });
            pairs.collect::<HeaderMap>()
        };
        let host = ("host", "desk.example");
        assert!(is_same_origin(&headers(&[
            host,
            ("sec-fetch-site", "same-origin")
        ])));
        assert!(is_same_origin(&headers(&[
            host,
            ("origin", "https://desk.example")
        ])));
        for refused in [
            headers(&[host]),
            headers(&[host, ("sec-fetch-site", "cross-site")]),
            headers(&[host, ("sec-fetch-site", "same-site")]),
            headers(&[host, ("sec-fetch-site", "none")]),
            headers(&[
                host,
                ("sec-fetch-site", "cross-site"),
                ("origin", "https://desk.example"),
            ]),
            headers(&[host, ("origin", "https://evil.example")]),
            headers(&[host, ("origin", "null")]),
        ] {
            assert!(!is_same_origin(&refused), "{refused:?}");
        }
    }
}
