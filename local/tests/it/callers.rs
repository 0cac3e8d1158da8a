//! Authentication on every route: valid and invalid tokens.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use common::{governance::auth::User, platform::clock};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use local::demo;
use serde_json::{Value, json};

use crate::harness::{
    parlor::{COACH, PREVIOUS_SECRET, Parlor, SECRET, STAFF, Setup, answer, token, token_of},
    routes::{self, PLATFORM_ADMIN},
};

/// The valid claims of a demo user's token.
fn claims(user: i64) -> Value {
    let user = demo::user(user).unwrap();
    json!({
        "sub": user.id.to_string(), "site_id": user.site_id, "role": user.role.name(),
        "nickname": user.nickname, "type": "access", "exp": clock::now().timestamp() + 3600,
    })
}

fn signed(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(algorithm), claims, &key).unwrap()
}

/// A demo user's token with one claim changed, or removed if `value` is null.
fn with(user: i64, name: &str, value: Value) -> String {
    let mut claims = claims(user);
    if value.is_null() {
        claims.as_object_mut().unwrap().remove(name);
    } else {
        claims[name] = value;
    }
    signed(Algorithm::HS256, SECRET, &claims)
}

/// Replaces the header of a token, but keeps its signature.
fn under_header(header: &Value, token: &str) -> String {
    let (_, rest) = token.split_once('.').unwrap();
    format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()))
}

/// A token without a signature.
fn unsigned(user: i64) -> String {
    let header = URL_SAFE_NO_PAD.encode(json!({ "alg": "none", "typ": "JWT" }).to_string());
    let claims = URL_SAFE_NO_PAD.encode(claims(user).to_string());
    format!("{header}.{claims}.")
}

/// Invalid authorization headers of a user who may call the route.
fn invalid_headers(user: i64) -> Vec<(&'static str, Option<String>)> {
    let now = clock::now().timestamp();
    let good = signed(Algorithm::HS256, SECRET, &claims(user));
    let rs256 = json!({ "alg": "RS256", "typ": "JWT" });
    let headers = [
        ("no token", None),
        ("an empty header", Some(String::new())),
        ("no scheme", Some(good.clone())),
        ("a scheme alone", Some("Bearer".to_owned())),
        ("an empty token", Some("Bearer ".to_owned())),
        ("no token at all", Some("Bearer abc".to_owned())),
        ("two tokens", Some(format!("Bearer {good} {good}"))),
        ("basic", Some("Basic MTAwMTpwYXNzd29yZA==".to_owned())),
        ("another scheme", Some(format!("Token {good}"))),
    ];
    let with = |name, value| with(user, name, value);
    let other_secret = "somebody else's secret, just as long";
    let tokens = [
        (
            "another secret",
            signed(Algorithm::HS256, other_secret, &claims(user)),
        ),
        (
            "a changed signature",
            format!("{}AAAA", &good[..good.len() - 4]),
        ),
        ("no algorithm", unsigned(user)),
        ("HS512", signed(Algorithm::HS512, SECRET, &claims(user))),
        ("an RS256 header", under_header(&rs256, &good)),
        ("expired", with("exp", json!(now - 31 - 60))),
        ("not yet valid", with("nbf", json!(now + 3600))),
        ("no expiry", with("exp", json!(null))),
        ("an expiry that is text", with("exp", json!("tomorrow"))),
        ("a refresh token", with("type", json!("refresh"))),
        ("no type", with("type", json!(null))),
        ("no subject", with("sub", json!(null))),
        ("a subject that is no id", with("sub", json!("coach"))),
        (
            "a subject out of range",
            with("sub", json!("99999999999999999999")),
        ),
        ("a subject that is a number", with("sub", json!(user))),
    ];
    let tokens = tokens.map(|(what, token)| (what, Some(format!("Bearer {token}"))));
    headers.into_iter().chain(tokens).collect()
}

/// Checks that the refused requests made no calls and stored nothing.
async fn check_no_effect(parlor: &Parlor) {
    assert_eq!(parlor.simulator.calls_count(), 0);
    let stored: i64 = sqlx::query_scalar(
        "select (select count(*) from biz.ai_messages) + (select count(*) from biz.ai_trigger_jobs)",
    )
    .fetch_one(&parlor.db)
    .await
    .unwrap();
    assert_eq!(stored, 0);
}

#[tokio::test]
async fn every_route_refuses_an_invalid_token() {
    let parlor = Parlor::start().await;
    for route in routes::all() {
        for (what, header) in invalid_headers(route.user()) {
            let mut request = route.request(&parlor);
            if let Some(header) = header {
                request = request.header("authorization", header);
            }
            let refused = answer(request).await;
            assert_eq!(refused.status, 401, "{what}: {route:?}: {}", refused.body);
            refused.refused_at(&route.path, 401, "unauthorized");
        }
    }
    check_no_effect(&parlor).await;
}

#[tokio::test]
async fn two_tokens_in_one_request_are_refused() {
    let parlor = Parlor::start().await;
    for route in routes::all() {
        let request = route
            .request_as(route.user(), &parlor)
            .header("authorization", "Bearer x");
        answer(request)
            .await
            .refused_at(&route.path, 401, "unauthorized");
    }
    check_no_effect(&parlor).await;
}

#[tokio::test]
async fn a_token_of_an_unauthorized_user_is_refused_on_every_route() {
    let parlor = Parlor::start().await;
    for route in routes::all() {
        let caller = route.user();
        let posing = |id, site_id| {
            let caller = demo::user(caller).unwrap();
            token_of(&User {
                id,
                site_id,
                ..caller
            })
        };
        let tokens = [
            ("unknown", posing(4_711, Some(1))),
            ("unknown, below zero", posing(-1, Some(1))),
            ("pending", posing(1005, Some(1))),
            ("disabled", posing(1006, Some(1))),
            ("another site's", posing(caller, Some(2))),
            (
                "another user's site",
                posing(caller, (caller == PLATFORM_ADMIN).then_some(2)),
            ),
            (
                "a platform admin at a site",
                posing(PLATFORM_ADMIN, Some(1)),
            ),
        ];
        for (what, token) in tokens {
            let refused = answer(route.request(&parlor).bearer_auth(token)).await;
            assert_eq!(refused.status, 403, "{what}: {route:?}: {}", refused.body);
            refused.refused_at(&route.path, 403, "not_approved");
        }
        for stranger in route.strangers() {
            let refused = answer(route.request_as(stranger, &parlor)).await;
            assert_eq!(
                refused.status, 403,
                "{stranger}: {route:?}: {}",
                refused.body
            );
            refused.refused_at(&route.path, 403, "forbidden");
        }
        // The role in the table counts, not the role in the token.
        for role in ["site_admin", "admin"] {
            if route.is_for_admins() {
                let token = with(COACH, "role", json!(role));
                answer(route.request(&parlor).bearer_auth(token))
                    .await
                    .refused_at(&route.path, 403, "forbidden");
            }
        }
    }
    check_no_effect(&parlor).await;
}

#[tokio::test]
async fn a_barely_valid_token_passes_every_route() {
    let parlor = Parlor::start().await;
    for route in routes::all() {
        // Read again for each route, because all routes together may take longer than the leeway.
        let now = clock::now().timestamp();
        let caller = route.user();
        let with = |name, value| with(caller, name, value);
        let tokens = [
            ("within the leeway", with("exp", json!(now - 10))),
            (
                "not before, within the leeway",
                with("nbf", json!(now + 10)),
            ),
            (
                "signed with the previous secret",
                demo::token(&PREVIOUS_SECRET.into(), &demo::user(caller).unwrap()).unwrap(),
            ),
            ("for an audience", with("aud", json!("parlor"))),
            ("without role", with("role", json!(null))),
            ("of an unknown role", with("role", json!("king"))),
            ("without nickname", with("nickname", json!(null))),
            ("role and name that are not text", {
                let mut claims = claims(caller);
                claims["role"] = json!(7);
                claims["nickname"] = json!(null);
                signed(Algorithm::HS256, SECRET, &claims)
            }),
        ];
        for (what, token) in &tokens {
            let passed = route
                .request(&parlor)
                .bearer_auth(token)
                .send()
                .await
                .unwrap();
            assert!(
                !matches!(passed.status().as_u16(), 401 | 403),
                "{what}: {route:?}: {}",
                passed.status()
            );
        }
        let lower_case = route
            .request(&parlor)
            .header("authorization", format!("bearer {}", token(caller)));
        assert_ne!(lower_case.send().await.unwrap().status(), 401, "{route:?}");
        if route.is_for_admins() {
            let platform = answer(route.request_as(PLATFORM_ADMIN, &parlor)).await;
            // The named object may be missing (404). That is not an authorization error.
            let refused = matches!(platform.status.as_u16(), 401 | 403 | 500..);
            assert!(
                !refused && platform.body["field"] != "site_id",
                "{route:?}: {platform:?}"
            );
        }
    }
}

#[tokio::test]
async fn role_and_name_come_from_the_table_not_the_token() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let mut claims = claims(COACH);
    claims["role"] = json!("admin");
    claims["nickname"] = json!("老板");
    let request = parlor
        .request("POST", &format!("/api/xcx/chat/{chat}/messages"))
        .bearer_auth(signed(Algorithm::HS256, SECRET, &claims))
        .json(&json!({ "content": "你好" }));
    answer(request).await.ok();
    let asked = &parlor.simulator.calls()[0].body["input"]["biz_params"]["user_prompt_params"];
    assert_eq!(
        (&asked["Role"], &asked["Nickname"]),
        (&json!("coach"), &json!("阿杰"))
    );
}

/// `common::governance::auth` tests for how long an approval is cached. This test checks that the
/// table is read without a cached approval.
#[tokio::test]
async fn a_disabled_user_is_refused_by_an_instance_without_a_cached_approval() {
    let parlor = Parlor::start().await;
    parlor.get(STAFF, "/api/xcx/chat/history").await.ok();
    sqlx::query("update biz.users set status = 'disabled' where id = $1")
        .bind(STAFF)
        .execute(&parlor.db)
        .await
        .unwrap();
    let database = Some(parlor.database.clone());
    let other = Parlor::start_with(Setup {
        database,
        ..Setup::default()
    })
    .await;
    other
        .get(STAFF, "/api/xcx/chat/history")
        .await
        .refused(403, "not_approved");
    // A new approval is effective at once, because refusals are not cached.
    sqlx::query("update biz.users set status = 'approved' where id = $1")
        .bind(STAFF)
        .execute(&parlor.db)
        .await
        .unwrap();
    other.get(STAFF, "/api/xcx/chat/history").await.ok();
}

#[tokio::test]
async fn errors_are_checked_in_the_documented_order() {
    let parlor = Parlor::start().await;
    let (mine, other) = (parlor.open(COACH, "t").await, parlor.open(STAFF, "t").await);
    let long = "[".repeat(200 * 1024);
    let send = |path: String, token: Option<String>, kind: &'static str, body: String| {
        let mut request = parlor
            .request("POST", &path)
            .header("content-type", kind)
            .body(body);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        answer(request)
    };
    let (json, text) = ("application/json", "text/plain");
    let here = format!("/api/xcx/chat/{mine}/messages");
    let stream = "/api/xcx/chat/stream";
    let coach = || Some(token(COACH));

    // Route and method are checked before the token.
    send("/api/xcx/nowhere".into(), None, text, long.clone())
        .await
        .refused(404, "not_found");
    let refused = answer(parlor.request("DELETE", &here)).await;
    refused.refused(405, "method_not_allowed");
    let allow = refused.headers["allow"].to_str().unwrap();
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
    let refused = answer(parlor.request("GET", stream)).await;
    refused.refused(405, "method_not_allowed");
    assert_eq!(refused.headers["allow"], "POST");

    // Token and approval are checked before the body.
    for (kind, body) in [(json, &*long), (text, "{}"), (json, "{"), (json, "{}")] {
        send(here.clone(), None, kind, body.into())
            .await
            .refused(401, "unauthorized");
        send(stream.into(), None, kind, body.into())
            .await
            .refused(401, "unauthorized");
        send(here.clone(), Some(token(1006)), kind, body.into())
            .await
            .refused(403, "not_approved");
        send(here.clone(), Some(token(9001)), kind, body.into())
            .await
            .refused(403, "forbidden");
    }

    // Size, type and syntax are checked first, then the fields of path, query and body.
    let bad_path = "/api/xcx/chat/abc/messages";
    send(bad_path.into(), coach(), text, long.clone())
        .await
        .refused(413, "payload_too_large");
    send(bad_path.into(), coach(), text, "{".into())
        .await
        .refused(415, "unsupported_media_type");
    send(bad_path.into(), coach(), json, "{".into())
        .await
        .refused(400, "invalid_json");
    send(bad_path.into(), coach(), json, "{}".into())
        .await
        .refused(422, "invalid_request");
    send(format!("{stream}?ascii=7"), coach(), json, "{".into())
        .await
        .refused(400, "invalid_json");

    // Fields are checked before the object exists, and the object before its state.
    for path in [
        "/api/xcx/chat/4711/messages".into(),
        format!("/api/xcx/chat/{other}/messages"),
    ] {
        send(path, coach(), json, "{}".into())
            .await
            .refused(422, "invalid_request");
    }
    sqlx::query("update biz.ai_conversations set status = 'closed'")
        .execute(&parlor.db)
        .await
        .unwrap();
    sqlx::query("update biz.ai_budgets set daily_limit = 0")
        .execute(&parlor.db)
        .await
        .unwrap();
    let body = json!({ "content": "你好" }).to_string();
    send(
        "/api/xcx/chat/4711/messages".into(),
        coach(),
        json,
        body.clone(),
    )
    .await
    .refused(404, "not_found");
    send(
        format!("/api/xcx/chat/{other}/messages"),
        coach(),
        json,
        body.clone(),
    )
    .await
    .refused(403, "not_owner");
    send(here.clone(), coach(), json, body.clone())
        .await
        .refused(409, "conflict");
    sqlx::query("update biz.ai_conversations set status = 'active'")
        .execute(&parlor.db)
        .await
        .unwrap();
    send(here, coach(), json, body)
        .await
        .refused(429, "budget_exceeded");
}
