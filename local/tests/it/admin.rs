//! Access of admins to sites, and the errors of the admin API. The test uses its own route with
//! [`Admin`], as all admin routes do.

use axum::{Json as Answered, routing::get};
use common::{
    Result,
    governance::auth::{Admin, Callers, SiteScope},
    web::{Cors, Json},
};
use local::demo;
use reqwest::RequestBuilder;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;

use crate::harness::{
    parlor::{COACH, Parlor, STAFF, answer, client, serve, token, token_of},
    routes::{OTHER_SITE_ADMIN, PLATFORM_ADMIN, SITE_ADMIN},
};

const PATH: &str = "/api/admin/ai/limit";

#[derive(Deserialize)]
struct Limit {
    site_id: Option<i64>,
    limit: i64,
}

async fn read(scope: SiteScope) -> Result<Answered<Value>> {
    Ok(Answered(json!({ "site_id": scope.site_id() })))
}

async fn set(admin: Admin, Json(body): Json<Limit>) -> Result<Answered<Value>> {
    let site_id = admin.site(body.site_id)?;
    Ok(Answered(
        json!({ "site_id": site_id, "limit": body.limit, "by": admin.user_id }),
    ))
}

/// Starts a `Parlor` and serves the test's route with its database.
async fn start() -> (Parlor, AdminWeb) {
    let parlor = Parlor::start().await;
    let tools = parlor.tools.clone();
    let router = OpenApiRouter::new()
        .route(PATH, get(read).put(set))
        .with_state(Callers::new(tools.secrets, tools.db));
    let web = AdminWeb {
        address: serve(lambda::app(router, &Cors::closed())).await,
        http: client(),
    };
    (parlor, web)
}

struct AdminWeb {
    address: String,
    http: reqwest::Client,
}

impl AdminWeb {
    /// A request without a token.
    fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.address);
        self.http.request(method.parse().unwrap(), url)
    }

    fn get(&self, user: i64, query: &str) -> RequestBuilder {
        self.request("GET", &format!("{PATH}{query}"))
            .bearer_auth(token(user))
    }

    fn put(&self, user: i64, body: &Value) -> RequestBuilder {
        self.put_text(user, body.to_string())
            .header("content-type", "application/json")
    }

    /// A request without a content type.
    fn put_text(&self, user: i64, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.request("PUT", PATH)
            .bearer_auth(token(user))
            .body(body)
    }
}

#[tokio::test]
async fn a_site_admin_has_its_own_site_and_a_platform_admin_all() {
    let (_parlor, web) = start().await;
    for (user, query, site_id) in [
        (SITE_ADMIN, "", json!(1)),
        (SITE_ADMIN, "?site_id=1", json!(1)),
        (OTHER_SITE_ADMIN, "", json!(2)),
        (PLATFORM_ADMIN, "", json!(null)),
        (PLATFORM_ADMIN, "?site_id=2", json!(2)),
    ] {
        let answered = answer(web.get(user, query)).await;
        assert_eq!(answered.ok()["site_id"], site_id, "{user} {query}");
    }
    for (user, body, site_id) in [
        (SITE_ADMIN, json!({ "limit": 5 }), 1),
        (SITE_ADMIN, json!({ "limit": 5, "site_id": 1 }), 1),
        (PLATFORM_ADMIN, json!({ "limit": 5, "site_id": 2 }), 2),
    ] {
        let answered = answer(web.put(user, &body)).await;
        let expected = json!({ "site_id": site_id, "limit": 5, "by": user });
        assert_eq!(answered.ok(), &expected);
    }
}

#[tokio::test]
async fn another_site_is_a_403_and_an_unnamed_site_a_422() {
    let (_parlor, web) = start().await;
    for site_id in [2, 4_711] {
        answer(web.get(SITE_ADMIN, &format!("?site_id={site_id}")))
            .await
            .refused_at(PATH, 403, "forbidden");
        answer(web.put(SITE_ADMIN, &json!({ "limit": 5, "site_id": site_id })))
            .await
            .refused_at(PATH, 403, "forbidden");
    }
    for body in [
        json!({ "limit": 5 }),
        json!({ "limit": 5, "site_id": null }),
    ] {
        let refused = answer(web.put(PLATFORM_ADMIN, &body)).await;
        let body = refused.refused_at(PATH, 422, "invalid_request");
        assert_eq!(body["field"], "site_id");
    }
}

#[tokio::test]
async fn other_users_are_refused_even_with_an_admin_token() {
    let (parlor, web) = start().await;
    for user in [COACH, STAFF, 1003] {
        // The role is checked before the body is read.
        answer(web.put_text(user, "not JSON"))
            .await
            .refused_at(PATH, 403, "forbidden");
        answer(web.get(user, "?site_id=x"))
            .await
            .refused_at(PATH, 403, "forbidden");
    }
    let coach = demo::user(COACH).unwrap();
    let role = demo::user(SITE_ADMIN).unwrap().role;
    let token = token_of(&common::governance::auth::User { role, ..coach });
    answer(web.request("GET", PATH).bearer_auth(token))
        .await
        .refused_at(PATH, 403, "forbidden");

    answer(web.request("GET", PATH))
        .await
        .refused_at(PATH, 401, "unauthorized");
    sqlx::query("update biz.users set status = 'disabled' where id = $1")
        .bind(SITE_ADMIN)
        .execute(&parlor.db)
        .await
        .unwrap();
    answer(web.get(SITE_ADMIN, ""))
        .await
        .refused_at(PATH, 403, "not_approved");
}

#[tokio::test]
async fn errors_have_the_fields_of_the_admin_api() {
    let (_parlor, web) = start().await;
    for path in [
        "/api/admin",
        "/api/admin/",
        "/api/admin/ai/nothing",
        "/api/admin/ai/limit/7",
    ] {
        answer(web.request("GET", path))
            .await
            .refused(404, "not_found");
    }
    let refused = answer(web.request("DELETE", PATH)).await;
    refused.refused_at(PATH, 405, "method_not_allowed");
    let allowed = refused.headers["allow"].to_str().unwrap();
    assert!(
        allowed.contains("GET") && allowed.contains("PUT"),
        "{allowed}"
    );

    let json = "application/json";
    let good = json!({ "limit": 5 }).to_string();
    for (what, kind, body, status, code) in [
        (
            "too large",
            json,
            "[".repeat(1 << 20),
            413,
            "payload_too_large",
        ),
        (
            "too large, and no JSON",
            "text/plain",
            "x".repeat(1 << 20),
            413,
            "payload_too_large",
        ),
        (
            "another type",
            "text/plain",
            good,
            415,
            "unsupported_media_type",
        ),
        (
            "half an object",
            json,
            "{\"limit\":".to_owned(),
            400,
            "invalid_json",
        ),
        ("nothing", json, String::new(), 400, "invalid_json"),
    ] {
        let request = web.put_text(SITE_ADMIN, body).header("content-type", kind);
        let refused = answer(request).await;
        assert_eq!(refused.status, status, "{what}: {}", refused.body);
        refused.refused_at(PATH, status, code);
    }
    for (body, field) in [
        (json!([]), "body"),
        (json!({}), "body"),
        (json!({ "limit": "many" }), "limit"),
        (json!({ "limit": 5, "site_id": "1" }), "site_id"),
    ] {
        let refused = answer(web.put(SITE_ADMIN, &body)).await;
        let error = refused.refused_at(PATH, 422, "invalid_request");
        assert_eq!(error["field"], field, "{body}");
    }
    for query in [
        "?site_id=x",
        "?site_id=0",
        "?site_id=1&site_id=1",
        "?site_id=%00",
    ] {
        let refused = answer(web.get(SITE_ADMIN, query)).await;
        let error = refused.refused_at(PATH, 422, "invalid_request");
        assert_eq!(error["field"], "site_id", "{query}");
    }
}
