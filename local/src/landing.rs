//! `/`: what runs where, and links that sign in as demo users. `/docs`: the API reference.
//!
//! Only `serve` has these routes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use askama::Template;
use axum::{
    Router,
    extract::{Path, Query, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use common::{
    governance::{audit, auth::User},
    platform::db::Db,
};
use console::SessionRules;
use http::{
    HeaderMap, HeaderName, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, LOCATION, REFERRER_POLICY,
        SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
    },
};
use secrecy::SecretString;
use serde::Deserialize;
use uuid::Uuid;

use crate::demo;

/// How long a code of a sign-in link is valid.
const VALID_FOR: Duration = Duration::from_secs(600);
/// Unused codes that are kept. Each load of the landing page makes one per user.
const MOST_CODES: usize = 1000;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// `RapiDoc` writes `style` attributes and `<style>` elements.
const POLICY_OF_DOCS: &str = "default-src 'none'; script-src 'self'; \
     style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Codes that sign in a demo user once.
#[derive(Clone, Default)]
pub struct SignInCodes(Arc<Mutex<HashMap<String, (i64, Instant)>>>);

impl SignInCodes {
    /// Makes a code for a demo user.
    pub fn make(&self, user_id: i64) -> String {
        self.make_at(user_id, Instant::now())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a code must be impossible to guess, and no database has it"
    )]
    fn make_at(&self, user_id: i64, now: Instant) -> String {
        let code = Uuid::new_v4().simple().to_string();
        let mut codes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        codes.retain(|_, (_, made)| is_valid(*made, now));
        if codes.len() >= MOST_CODES {
            codes.clear();
        }
        codes.insert(code.clone(), (user_id, now));
        code
    }

    /// The user of a code that is valid. The code is not valid afterwards.
    fn take(&self, code: &str, now: Instant) -> Option<User> {
        let mut codes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (user_id, made) = codes.remove(code)?;
        demo::user(user_id).filter(|_| is_valid(made, now))
    }
}

fn is_valid(made: Instant, now: Instant) -> bool {
    now.saturating_duration_since(made) < VALID_FOR
}

/// The users who can sign in.
pub fn users() -> impl Iterator<Item = User> {
    demo::users().filter(|user| user.approved)
}

/// What the landing page shows and what signing in needs.
#[derive(Clone)]
#[expect(missing_docs, reason = "plain data")]
pub struct Landing {
    pub db: Db,
    /// Signs the tokens of the demo users.
    pub secret: SecretString,
    pub session: SessionRules,
    pub codes: SignInCodes,
    /// The OpenAPI document.
    pub openapi: Arc<str>,
    /// True if replies come from the simulator.
    pub is_simulated: bool,
    /// True if the functions run as processes behind the emulator.
    pub is_emulated: bool,
    pub has_schedules: bool,
}

/// The routes. They refuse a `Host` that is not loopback. Otherwise a page of another site could
/// point its own host name at 127.0.0.1 and read the links.
pub fn router(landing: Landing) -> Router {
    Router::new()
        .route("/", get(show))
        .route("/console/code/{code}", get(sign_in))
        .route("/docs", get(docs))
        .route("/docs/openapi.json", get(openapi))
        .route("/docs/rapidoc-min.js", get(viewer))
        .route_layer(middleware::from_fn(only_loopback))
        .with_state(landing)
}

async fn only_loopback(request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST);
    if host.is_some_and(|host| host.to_str().is_ok_and(is_loopback)) {
        return next.run(request).await;
    }
    let text = "This page is only at http://127.0.0.1 or http://localhost.\n";
    (StatusCode::FORBIDDEN, text).into_response()
}

fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    ["127.0.0.1", "localhost", "[::1]"]
        .into_iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

/// Why the landing page is shown instead of the console.
#[derive(Deserialize)]
struct LandingQuery {
    #[serde(default)]
    code: String,
}

/// A link that signs in a user.
struct Link {
    user: User,
    code: String,
    /// True if it shows the console, and false if it shows the chat.
    is_to_console: bool,
}

#[derive(Template)]
#[template(path = "landing.html")]
struct LandingPage<'a> {
    assets: &'a str,
    host: &'a str,
    links: Vec<Link>,
    has_old_code: bool,
    landing: &'a Landing,
    /// Name and effect of each scenario.
    scenarios: Vec<(&'a str, &'a str)>,
}

async fn show(
    State(landing): State<Landing>,
    Query(query): Query<LandingQuery>,
    headers: HeaderMap,
) -> Response {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let link = |user: User| Link {
        code: landing.codes.make(user.id),
        is_to_console: console::may_read_desk(&user),
        user,
    };
    let page = LandingPage {
        assets: console::assets_hash(),
        host: host.unwrap_or_default(),
        links: users().map(link).collect(),
        has_old_code: query.code == "old",
        scenarios: scenarios(),
        landing: &landing,
    };
    html(&page, POLICY)
}

/// The rows of the table of scenarios.
fn scenarios() -> Vec<(&'static str, &'static str)> {
    let lines = include_str!("simulator/scenarios.md").lines().skip(2);
    lines
        .filter_map(|line| {
            line.strip_prefix("| ")?
                .strip_suffix(" |")?
                .split_once(" | ")
        })
        .collect()
}

/// Signs in with a one-time code and shows the console, which leads coaches and staff to the chat.
async fn sign_in(State(landing): State<Landing>, Path(code): Path<String>) -> Response {
    let user = landing.codes.take(&code, Instant::now());
    let token = user.and_then(|user| Some((demo::token(&landing.secret, &user)?, user)));
    let Some((token, user)) = token else {
        return redirect("../../?code=old").into_response();
    };
    if let Err(error) = audit::record_session(&landing.db, audit::Action::SignIn, &user).await {
        return error.into_response();
    }
    let cookie = console::cookie(&landing.session, &token, Some("/console"));
    ([(SET_COOKIE, cookie)], redirect("../../console")).into_response()
}

fn redirect(to: &'static str) -> impl IntoResponse {
    (
        StatusCode::SEE_OTHER,
        [(LOCATION, to), (CACHE_CONTROL, "no-store")],
    )
}

#[derive(Template)]
#[template(path = "docs.html")]
struct DocsPage;

async fn docs() -> Response {
    html(&DocsPage, POLICY_OF_DOCS)
}

async fn openapi(State(landing): State<Landing>) -> Response {
    let json = [(CONTENT_TYPE, "application/json")];
    (json, landing.openapi.to_string()).into_response()
}

async fn viewer() -> Response {
    let script = [(CONTENT_TYPE, "text/javascript; charset=utf-8")];
    (script, include_str!("../assets/vendor/rapidoc-min.js")).into_response()
}

fn html(page: &impl Template, policy: &'static str) -> Response {
    let Ok(text) = page.render() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let headers: [(HeaderName, &str); 5] = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, policy),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    (headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_valid_once_and_for_ten_minutes() {
        let (codes, now) = (SignInCodes::default(), Instant::now());
        let code = codes.make_at(1004, now);
        let taken = |code: &str, later| codes.take(code, now + Duration::from_secs(later));
        assert!(taken("other", 0).is_none());
        assert_eq!(taken(&code, 599).unwrap().id, 1004);
        assert!(taken(&code, 599).is_none());
        let old = codes.make_at(1004, now);
        assert!(taken(&old, 600).is_none());
    }

    #[test]
    fn only_names_of_this_machine_are_loopback() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:9000",
            "LOCALHOST:1",
            "[::1]",
            "[::1]:9000",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:9000",
            "127.0.0.1.evil.example",
            "localhost:x",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn every_scenario_is_listed() {
        let rows = scenarios();
        assert!(
            rows.len() > 40 && rows[0].0.starts_with("`slow`"),
            "{rows:?}"
        );
    }
}
