//! Invalid requests: they get a documented error, never a 500.

use axum::{
    body::Body,
    http::{Method, Request, Uri},
};
use local::gateway;
use serde_json::{Value, json};

use crate::harness::{
    faces,
    parlor::{Answer, COACH, Parlor, answer, answer_of, token},
    routes::{self, OTHER_SITE_ADMIN, Route},
};

const MAX_BODY: usize = 128 * 1024;

async fn post(
    parlor: &Parlor,
    path: &str,
    kind: Option<&str>,
    body: impl Into<reqwest::Body>,
) -> Answer {
    let mut request = parlor.request_as(COACH, "POST", path).body(body);
    if let Some(kind) = kind {
        request = request.header("content-type", kind);
    }
    answer(request).await
}

/// Sends a request without a socket, so that a client library cannot reject it.
pub async fn send(parlor: &Parlor, request: Request<Body>) -> Answer {
    answer_of(gateway::app(&parlor.tools), request).await
}

/// A JSON body of exactly `bytes` bytes, valid except for its size.
fn body_of(bytes: usize) -> String {
    let start = "{\"content\":\"你好\",\"more\":\"";
    format!("{start}{}\"}}", "x".repeat(bytes - start.len() - 2))
}

/// A request with this body from a user who may call the route.
async fn post_to(route: &Route, parlor: &Parlor, kind: &str, body: Vec<u8>) -> Answer {
    let request = parlor.request_as(route.user(), &route.method, &route.path);
    answer(request.header("content-type", kind).body(body)).await
}

fn with_body() -> Vec<Route> {
    let mut routes = routes::all();
    routes.retain(|route| !route.body.is_null());
    routes
}

#[tokio::test]
async fn bodies_that_are_not_json_are_refused() {
    let parlor = Parlor::start().await;
    // The conversation in the paths of the example requests.
    let chat = parlor.open(COACH, "t").await;
    let deep = format!("{{\"content\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
    let bodies: [(&str, Vec<u8>); 12] = [
        ("nothing", vec![]),
        ("space", b"   ".to_vec()),
        ("text", b"hello".to_vec()),
        ("half an object", b"{\"content\":".to_vec()),
        ("two objects", b"{\"content\":\"a\"}{}".to_vec()),
        ("brackets", "[".repeat(MAX_BODY).into_bytes()),
        ("deep nesting", deep.into_bytes()),
        ("invalid UTF-8", b"{\"content\":\"\xff\xfe\"}".to_vec()),
        ("half a character", b"{\"content\":\"\xe4\xbd\"}".to_vec()),
        (
            "a number without bounds",
            b"{\"content\":\"a\",\"n\":1e400}".to_vec(),
        ),
        ("not a number", b"{\"content\":NaN}".to_vec()),
        (
            "a raw control character",
            b"{\"content\":\"a\x01\"}".to_vec(),
        ),
    ];
    for route in with_body() {
        for (what, body) in &bodies {
            let refused = post_to(&route, &parlor, "application/json", body.clone()).await;
            assert_eq!(refused.status, 400, "{what}: {route:?}: {}", refused.body);
            refused.refused_at(&route.path, 400, "invalid_json");
        }
    }
    assert!(parlor.messages(COACH, chat).await.is_empty());
}

#[tokio::test]
async fn a_body_too_large_of_another_type_or_without_access_is_refused_on_every_route() {
    let parlor = Parlor::start().await;
    let large = "[".repeat(MAX_BODY + 1).into_bytes();
    for route in with_body() {
        let body = route.body.to_string().into_bytes();
        let json = "application/json";
        for (kind, body, status, code) in [
            (json, large.clone(), 413, "payload_too_large"),
            ("text/plain", large.clone(), 413, "payload_too_large"),
            ("text/plain", body, 415, "unsupported_media_type"),
        ] {
            let refused = post_to(&route, &parlor, kind, body).await;
            assert_eq!(refused.status, status, "{route:?}: {}", refused.body);
            refused.refused_at(&route.path, status, code);
        }
        for stranger in route.strangers() {
            // The body names the site of this admin's request. It is too large to be read.
            if stranger == OTHER_SITE_ADMIN {
                continue;
            }
            let request = parlor.request_as(stranger, &route.method, &route.path);
            answer(request.body(large.clone()))
                .await
                .refused_at(&route.path, 403, "forbidden");
        }
        let request = parlor.request(&route.method, &route.path);
        answer(request.body(large.clone()))
            .await
            .refused_at(&route.path, 401, "unauthorized");
    }
}

#[tokio::test]
async fn a_body_of_128_kib_is_read_and_one_byte_more_is_not() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let path = format!("/api/xcx/chat/{chat}/messages");
    let json = Some("application/json");
    post(&parlor, &path, json, body_of(MAX_BODY)).await.ok();
    post(&parlor, &path, json, body_of(MAX_BODY + 1))
        .await
        .refused(413, "payload_too_large");
    post(&parlor, &path, json, "[".repeat(1 << 20))
        .await
        .refused(413, "payload_too_large");
    // With and without a content length.
    let chunks = (0..1024).map(|_| Ok::<_, std::io::Error>(vec![b'['; 1024]));
    let stream = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    post(&parlor, &path, json, stream)
        .await
        .refused(413, "payload_too_large");
}

#[tokio::test]
async fn only_json_is_read_as_json() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let path = format!("/api/xcx/chat/{chat}/messages");
    let body = || json!({ "content": "你好" }).to_string();
    for kind in [
        None,
        Some(""),
        Some("text/plain"),
        Some("application/jsonp"),
        Some("text/json"),
        Some("application/x-www-form-urlencoded"),
        Some("multipart/form-data; boundary=json"),
        Some("*/*"),
    ] {
        let refused = post(&parlor, &path, kind, body()).await;
        assert_eq!(refused.status, 415, "{kind:?}");
        refused.refused(415, "unsupported_media_type");
    }
    for kind in [
        "application/json",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "APPLICATION/JSON",
    ] {
        post(&parlor, &path, Some(kind), body()).await.ok();
    }
}

#[tokio::test]
async fn unusual_json_is_accepted_or_refused_by_field() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let path = format!("/api/xcx/chat/{chat}/messages");
    let json = Some("application/json");
    // Of duplicate fields, the last one counts, as in most parsers.
    let answered = post(&parlor, &path, json, r#"{"content":"一","content":"二"}"#).await;
    assert_eq!(answered.ok()["userMessage"]["content"], "二");
    // A surrogate pair is one character.
    let answered = post(&parlor, &path, json, r#"{"content":"\ud83c\udfb1"}"#).await;
    assert_eq!(answered.ok()["userMessage"]["content"], "🎱");
    for (body, field) in [
        (r#"{"content":{"$gt":""}}"#, "content"),
        (r#"{"content":true}"#, "content"),
        (r#"{"content":123456789012345678901234567890}"#, "content"),
        (r#"{"content":"\u0000"}"#, "content"),
        (r#"{"Content":"你好"}"#, "content"),
        (r#""你好""#, "body"),
        ("null", "body"),
        ("1e300", "body"),
    ] {
        let refused = post(&parlor, &path, json, body).await;
        assert_eq!(
            refused.refused(422, "invalid_request")["field"],
            field,
            "{body}"
        );
    }
    for chat in [
        "123456789012345678901234567890",
        "9223372036854775808",
        "1e3",
        "true",
        "[1]",
    ] {
        let body = format!(r#"{{"chatId":{chat},"content":"你好"}}"#);
        let refused = post(&parlor, "/api/xcx/chat/stream", json, body).await;
        assert_eq!(
            refused.refused(422, "invalid_request")["field"],
            "chatId",
            "{chat}"
        );
    }
    for chat in ["0", "-1", "-9223372036854775808", "9223372036854775807"] {
        let body = format!(r#"{{"chatId":{chat},"content":"你好"}}"#);
        let refused = post(&parlor, "/api/xcx/chat/stream", json, body).await;
        assert!(
            matches!(refused.status.as_u16(), 404 | 422),
            "{chat}: {}",
            refused.body
        );
    }
}

#[tokio::test]
async fn a_page_context_may_contain_any_text_except_nul() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let body = |context: Value| json!({ "chatId": chat, "content": "你好", "sourcePage": "board-finance", "pageContext": context });
    // The six characters of an escape sequence are not NUL.
    let events = parlor
        .stream_body(COACH, &body(json!({ "a": "\\u0000" })))
        .await
        .rest()
        .await;
    assert_eq!(events.last().unwrap().name, "done");
    for context in [
        json!({ "a": "\u{0}" }),
        json!({ "\u{0}": 1 }),
        json!({ "a": [{ "b": ["x\u{0}"] }] }),
    ] {
        let refused = parlor
            .post(COACH, "/api/xcx/chat/stream", &body(context))
            .await;
        assert_eq!(
            refused.refused(422, "invalid_request")["field"],
            "pageContext"
        );
    }
}

#[tokio::test]
async fn paths_that_name_no_chat_are_refused() {
    let parlor = Parlor::start().await;
    let odd = [
        "",
        "abc",
        "0",
        "-1",
        "1.5",
        "1e3",
        "0x1",
        "99999999999999999999",
        "9223372036854775808",
        "%00",
        "1%00",
        "%FF",
        "%F0%9F%8E%B1",
        "%31%20",
        "1;2",
        "1'--",
        "..%2f1",
        "%zz",
    ];
    for id in odd {
        let path = format!("/api/xcx/chat/{id}/messages");
        for method in [Method::GET, Method::POST] {
            let request = Request::builder()
                .method(&method)
                .uri(&path)
                .header("authorization", format!("Bearer {}", token(COACH)))
                .header("content-type", "application/json")
                .body(Body::from(r#"{"content":"你好"}"#))
                .unwrap();
            let refused = send(&parlor, request).await;
            assert_eq!(refused.status, 422, "{method} {path}: {}", refused.body);
            assert_eq!(
                refused.refused(422, "invalid_request")["field"],
                "chatId",
                "{path}"
            );
        }
    }
    for path in [
        "/api/xcx/chat/1/messages/",
        "/api/xcx//chat/history",
        "/api/xcx/chat/history/",
        "/api/xcx/chat/1/messages/2",
        "/api/xcx",
        "/api/xcx/",
    ] {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let refused = send(&parlor, request).await;
        assert_eq!(refused.status, 404, "{path}");
        refused.refused(404, "not_found");
    }
}

#[tokio::test]
async fn invalid_queries_are_refused_by_field() {
    let parlor = Parlor::start().await;
    let history = "/api/xcx/chat/history";
    for (query, field) in [
        ("page=%FF", "page"),
        ("page=%zz", "page"),
        ("page=%", "page"),
        ("page=", "page"),
        ("page", "page"),
        ("page=%E4%BD", "page"),
        ("page=1&page=1", "page"),
        ("page_size=1&pageSize=1", "pageSize"),
        ("cursor=%FF", "cursor"),
        ("cursor=%00", "cursor"),
    ] {
        let refused = parlor.get(COACH, &format!("{history}?{query}")).await;
        assert_eq!(
            refused.refused(422, "invalid_request")["field"],
            field,
            "{query}"
        );
    }
    for query in ["", "&&&", "=", "%FF=%FF", "unknown=1", "PAGE=abc"] {
        parlor.get(COACH, &format!("{history}?{query}")).await.ok();
    }
    // Invalid UTF-8 is refused. Otherwise different ids would become the same text.
    for id in ["%FF", "%E4%BD", "a%C0%80"] {
        let path = format!("/api/xcx/chat/messages?contextType=task&contextId={id}");
        assert_eq!(
            parlor
                .get(COACH, &path)
                .await
                .refused(422, "invalid_request")["field"],
            "contextId",
            "{id}"
        );
    }
    // A replacement character in valid UTF-8 is accepted.
    parlor
        .get(
            COACH,
            "/api/xcx/chat/messages?contextType=task&contextId=%EF%BF%BD",
        )
        .await
        .ok();
}

#[tokio::test]
async fn unusual_headers_do_not_cause_errors() {
    let parlor = Parlor::start().await;
    let path = "/api/xcx/chat/history";
    for value in ["Bearer \u{e9}", "Bearer 令牌", "\u{ff}"] {
        let value = reqwest::header::HeaderValue::from_bytes(value.as_bytes()).unwrap();
        let refused = answer(parlor.request("GET", path).header("authorization", value)).await;
        refused.refused(401, "unauthorized");
    }
    let long = format!("Bearer {}", "x".repeat(16 * 1024));
    answer(parlor.request("GET", path).header("authorization", long))
        .await
        .refused(401, "unauthorized");
    // The client's id is not used as the request id.
    let answered = answer(
        parlor
            .request_as(COACH, "GET", path)
            .header("x-request-id", "mine\u{e9}"),
    )
    .await;
    answered.ok();
    assert!(uuid::Uuid::parse_str(answered.headers["x-request-id"].to_str().unwrap()).is_ok());
}

#[tokio::test]
async fn an_unknown_path_is_a_404_in_the_one_format_of_the_gateway() {
    let parlor = Parlor::start().await;
    for path in [
        "/api/xcx/nowhere",
        "/api/admin/nowhere",
        "/api/admin/ai/nowhere",
        "/api/chat/nowhere",
        "/api/chat",
        "/api/chats",
        "/api/xcxx",
        "/nowhere",
        "/",
        "//",
        "/api/chat/%00",
        "/api/xcx/%F0%9F%8E%B1",
    ] {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"] {
            let request = Request::builder()
                .method(method)
                .uri(path)
                .body(Body::empty())
                .unwrap();
            send(&parlor, request)
                .await
                .refused_at("/api/xcx", 404, "not_found");
        }
    }
    // Request targets that are not paths.
    for (method, target) in [
        ("OPTIONS", "*"),
        ("CONNECT", "example.com:443"),
        ("GET", "http://example.com"),
    ] {
        let target: Uri = target.parse().unwrap();
        let request = Request::builder()
            .method(method)
            .uri(target)
            .body(Body::empty())
            .unwrap();
        let refused = send(&parlor, request).await;
        assert_eq!(refused.status, 404, "{method}");
        faces::check("/api/xcx", &refused.headers, &refused.body);
    }
}
