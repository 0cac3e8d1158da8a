//! Every route of the product, with a request that is good but for who asks.

use std::collections::BTreeSet;

use local::{command, gateway};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::parlor::{COACH, Parlor, STAFF, token};

/// The admin of site 1.
pub const SITE_ADMIN: i64 = 1004;
/// The admin of site 2.
pub const OTHER_SITE_ADMIN: i64 = 2004;
/// The admin of all.
pub const PLATFORM_ADMIN: i64 = 9001;

/// What the admin web calls, which no other user may.
const ADMIN: &str = "/api/admin/";

/// A route, and a request of it that its users might make: of site 1, and where it is for admins, about
/// site 1 by name.
#[derive(Clone, Debug)]
pub struct Route {
    pub method: &'static str,
    pub template: &'static str,
    /// The path with its query.
    pub path: &'static str,
    /// Null where there is none.
    pub body: Value,
}

impl Route {
    fn get(template: &'static str, path: &'static str) -> Self {
        Self {
            method: "GET",
            template,
            path,
            body: Value::Null,
        }
    }

    fn post(template: &'static str, path: &'static str, body: Value) -> Self {
        Self::with("POST", template, path, body)
    }

    fn with(method: &'static str, template: &'static str, path: &'static str, body: Value) -> Self {
        Self {
            method,
            template,
            path,
            body,
        }
    }

    /// Whether it is for admins alone.
    pub fn is_for_admins(&self) -> bool {
        self.template.starts_with(ADMIN)
    }

    /// Who calls it.
    pub fn user(&self) -> i64 {
        self.users()[0]
    }

    /// Two who may.
    pub fn users(&self) -> [i64; 2] {
        if self.is_for_admins() {
            [SITE_ADMIN, PLATFORM_ADMIN]
        } else {
            [COACH, STAFF]
        }
    }

    /// Those who are approved, and may not.
    pub fn strangers(&self) -> Vec<i64> {
        if self.is_for_admins() {
            vec![COACH, STAFF, 1003, OTHER_SITE_ADMIN]
        } else {
            vec![PLATFORM_ADMIN]
        }
    }

    /// The request, of a demo user.
    pub fn request_as(&self, user: i64, parlor: &Parlor) -> RequestBuilder {
        self.request(parlor).bearer_auth(token(user))
    }

    /// The request, without a token.
    pub fn request(&self, parlor: &Parlor) -> RequestBuilder {
        let request = parlor.request(self.method, self.path);
        if self.body.is_null() {
            request
        } else {
            request.json(&self.body)
        }
    }
}

/// What the admin web calls.
fn of_admins() -> Vec<Route> {
    vec![
        Route::get(
            "/api/admin/ai/alerts",
            "/api/admin/ai/alerts?site_id=1&group=true",
        ),
        Route::post(
            "/api/admin/ai/alerts/{id}/ack",
            "/api/admin/ai/alerts/1/ack?site_id=1",
            Value::Null,
        ),
        Route::post(
            "/api/admin/ai/alerts/{id}/ignore",
            "/api/admin/ai/alerts/1/ignore?site_id=1",
            Value::Null,
        ),
        Route::get("/api/admin/ai/audit", "/api/admin/ai/audit?site_id=1"),
        Route::get("/api/admin/ai/budget", "/api/admin/ai/budget?site_id=1"),
        Route::with(
            "PUT",
            "/api/admin/ai/budget",
            "/api/admin/ai/budget",
            json!({ "site_id": 1, "daily_limit": 1_000_000, "monthly_limit": 20_000_000 }),
        ),
        Route::get(
            "/api/admin/ai/dashboard",
            "/api/admin/ai/dashboard?site_id=1",
        ),
        Route::get(
            "/api/admin/ai/run-logs",
            "/api/admin/ai/run-logs?site_id=1&status=failed",
        ),
        Route::get(
            "/api/admin/ai/run-logs/{id}",
            "/api/admin/ai/run-logs/1?site_id=1",
        ),
        Route::get(
            "/api/admin/ai/runtime-context",
            "/api/admin/ai/runtime-context?site_id=1",
        ),
        Route::with(
            "PUT",
            "/api/admin/ai/runtime-context",
            "/api/admin/ai/runtime-context",
            json!({ "site_id": 1, "mode": "live" }),
        ),
        Route::post(
            "/api/admin/ai/batches/estimate",
            "/api/admin/ai/batches/estimate",
            json!({ "app_types": ["app3_clue"], "member_ids": [10_001], "site_id": 1 }),
        ),
        Route::get(
            "/api/admin/ai/batches/{batch_id}",
            "/api/admin/ai/batches/00000000-0000-4000-8000-00000000abcd?site_id=1",
        ),
        Route::post(
            "/api/admin/ai/batches/{batch_id}/cancel",
            "/api/admin/ai/batches/00000000-0000-4000-8000-00000000abcd/cancel?site_id=1",
            Value::Null,
        ),
        Route::post(
            "/api/admin/ai/batches/{batch_id}/confirm",
            "/api/admin/ai/batches/00000000-0000-4000-8000-00000000abcd/confirm?site_id=1",
            Value::Null,
        ),
        Route::get("/api/admin/ai/cache", "/api/admin/ai/cache?site_id=1"),
        Route::post(
            "/api/admin/ai/cache/invalidate",
            "/api/admin/ai/cache/invalidate",
            json!({ "site_id": 1 }),
        ),
        Route::get(
            "/api/admin/ai/trigger-jobs",
            "/api/admin/ai/trigger-jobs?site_id=1",
        ),
        Route::post(
            "/api/admin/ai/trigger-jobs",
            "/api/admin/ai/trigger-jobs",
            json!({ "event_type": "etl.finished", "site_id": 1 }),
        ),
        Route::get(
            "/api/admin/ai/trigger-jobs/{id}",
            "/api/admin/ai/trigger-jobs/1?site_id=1",
        ),
        Route::post(
            "/api/admin/ai/trigger-jobs/{id}/retry",
            "/api/admin/ai/trigger-jobs/1/retry?site_id=1",
            Value::Null,
        ),
    ]
}

/// What clients of the session API call.
fn of_sessions() -> Vec<Route> {
    vec![
        Route::get("/api/chat/bots", "/api/chat/bots"),
        Route::get("/api/chat/sessions", "/api/chat/sessions"),
        Route::post(
            "/api/chat/sessions",
            "/api/chat/sessions",
            json!({ "bot_id": "00000000-0000-4000-8000-000000000001" }),
        ),
        Route::get(
            "/api/chat/sessions/{id}",
            "/api/chat/sessions/00000000-0000-4000-8000-00000000abcd",
        ),
        Route::with(
            "PATCH",
            "/api/chat/sessions/{id}",
            "/api/chat/sessions/00000000-0000-4000-8000-00000000abcd",
            json!({ "title": "你好" }),
        ),
        Route::with(
            "DELETE",
            "/api/chat/sessions/{id}",
            "/api/chat/sessions/00000000-0000-4000-8000-00000000abcd",
            Value::Null,
        ),
        Route::get(
            "/api/chat/sessions/{id}/messages",
            "/api/chat/sessions/00000000-0000-4000-8000-00000000abcd/messages",
        ),
        Route::post(
            "/api/chat/sessions/{id}/messages",
            "/api/chat/sessions/00000000-0000-4000-8000-00000000abcd/messages",
            json!({ "content": "你好" }),
        ),
        Route::with(
            "PUT",
            "/api/chat/sessions/{id}/read",
            "/api/chat/sessions/00000000-0000-4000-8000-00000000abcd/read",
            Value::Null,
        ),
    ]
}

/// What the mini-program calls.
fn of_the_mini_program() -> Vec<Route> {
    vec![
        Route::get("/api/xcx/chat/history", "/api/xcx/chat/history"),
        Route::get("/api/xcx/runtime-clock", "/api/xcx/runtime-clock"),
        Route::get(
            "/api/xcx/chat/messages",
            "/api/xcx/chat/messages?contextType=task&contextId=7",
        ),
        Route::get(
            "/api/xcx/chat/{chatId}/messages",
            "/api/xcx/chat/1/messages",
        ),
        Route::post(
            "/api/xcx/chat/{chatId}/messages",
            "/api/xcx/chat/1/messages",
            json!({ "content": "你好" }),
        ),
        Route::post(
            "/api/xcx/chat/stream",
            "/api/xcx/chat/stream",
            json!({ "chatId": 1, "content": "你好" }),
        ),
        Route::get("/api/xcx/chat/stream/{messageId}", "/api/xcx/chat/stream/1"),
        Route::post(
            "/api/xcx/chat/stream/{messageId}/stop",
            "/api/xcx/chat/stream/1/stop",
            Value::Null,
        ),
    ]
}

/// All routes. A route of a router that has no line here fails the test that asks, so that
/// nothing is served that was never tried without a token.
#[track_caller]
pub fn all() -> Vec<Route> {
    let lines = [of_admins(), of_sessions(), of_the_mini_program()].concat();
    let listed: BTreeSet<_> = lines
        .iter()
        .map(|line| (line.method, line.template.to_owned()))
        .collect();
    for line in lines.iter().filter(|line| line.is_for_admins()) {
        assert!(
            line.body["site_id"] == 1 || line.path.contains("site_id=1"),
            "{line:?} does not name its site, so that another's admin could not be told from its own"
        );
    }
    let mut served = BTreeSet::new();
    for (_, router) in gateway::functions(&command::idle_tools().unwrap()) {
        for (path, item) in &router.get_openapi().paths.paths {
            served.extend(
                gateway::methods(item)
                    .into_iter()
                    .map(|method| (method, path.clone())),
            );
        }
    }
    assert_eq!(
        listed, served,
        "each route has its line, and no other has one"
    );
    lines
}
