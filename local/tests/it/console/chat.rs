//! The chat page and its routes.

use std::fs;

use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

use super::{page, shown};
use crate::harness::{
    jobs::{PLATFORM_ADMIN, SITE_ADMIN},
    parlor::{COACH, Parlor, token},
};

const VIEWER: i64 = 1007;

/// A request as the page sends it: the cookie, and a bearer without a token.
fn of_page(parlor: &Parlor, user: i64, method: &str, path: &str) -> RequestBuilder {
    let request = parlor.request(method, &format!("/console{path}"));
    request
        .header("cookie", format!("parlor_token={}", token(user)))
        .header("authorization", "Bearer ")
        .header("sec-fetch-site", "same-origin")
}

async fn json_of(request: RequestBuilder) -> Value {
    ok(request).await.json().await.unwrap()
}

async fn ok(request: RequestBuilder) -> Response {
    let response = request.send().await.unwrap();
    assert!(response.status().is_success(), "{response:?}");
    response
}

#[tokio::test]
async fn every_user_with_a_site_has_the_chat_page() {
    let parlor = Parlor::start().await;
    for (user, has_desk) in [(COACH, false), (VIEWER, true), (SITE_ADMIN, true)] {
        let html = shown(&parlor, user, "/console/chat?chat=7").await;
        assert_eq!(html.contains("href=\"../console\""), has_desk, "{user}");
        for text in [
            "<noscript>",
            "New conversation",
            "内容由 AI 生成，仅供参考",
            "data-scenario=\"slow\"",
        ] {
            assert!(html.contains(text), "{user}: {text}");
        }
        assert!(!html.contains("<script>") && !html.contains(" style="));
    }
    let (status, _) = page(&parlor, PLATFORM_ADMIN, "/console/chat").await;
    assert_eq!(status, 403);
    let nobody = parlor.request("GET", "/console/chat?chat=7").send().await;
    let nobody = nobody.unwrap();
    assert_eq!(nobody.status(), 303);
    assert_eq!(
        nobody.headers()["location"],
        "./sign-in?next=chat%3Fchat%3D7"
    );
}

#[tokio::test]
async fn the_page_loads_the_client_unchanged() {
    let parlor = Parlor::start().await;
    let html = shown(&parlor, COACH, "/console/chat").await;
    let script = html.split("type=\"module\" src=\"./").nth(1).unwrap();
    let script = script.split('"').next().unwrap();
    let folder = script.strip_suffix("/chat.js").unwrap();
    let source = |name| format!("{}/../{name}", env!("CARGO_MANIFEST_DIR"));
    for (name, file) in [
        ("chat.js", "functions/console/assets/chat.js"),
        ("browser/chat.js", "clients/browser/chat.js"),
        ("core.js", "clients/core.js"),
    ] {
        let asset = ok(parlor.request("GET", &format!("/console/{folder}/{name}"))).await;
        let kept = asset.headers()["cache-control"].to_str().unwrap();
        assert!(kept.ends_with("immutable"), "{name}: {kept}");
        let text = fs::read_to_string(source(file)).unwrap();
        assert_eq!(asset.text().await.unwrap(), text, "{name}");
    }
}

#[tokio::test]
async fn the_cookie_is_the_credential_of_all_chat_routes() {
    let parlor = Parlor::start().await;
    let as_coach = |method, path: &str| of_page(&parlor, COACH, method, path);
    // An empty context is not dropped as the empty field of a form is.
    let open = "/api/xcx/chat/messages?contextType=general&contextId=&order=desc";
    let chat = json_of(as_coach("GET", open)).await["chatId"].clone();
    let body = json!({ "chatId": chat, "content": "[[sim:echo]]你好", "clientMessageId": "a" });
    let stream = ok(as_coach("POST", "/api/xcx/chat/stream").json(&body)).await;
    assert_eq!(
        stream.headers()["content-type"],
        "text/event-stream; charset=utf-8"
    );
    assert!(stream.text().await.unwrap().contains("event: done"));

    let history = json_of(as_coach("GET", "/api/xcx/chat/history")).await;
    assert_eq!(history["items"][0]["id"], chat);
    let chats = format!("/api/xcx/chat/{chat}");
    let renamed = as_coach("PUT", &chats).json(&json!({ "title": "新标题", "pinned": true }));
    assert_eq!(json_of(renamed).await["title"], "新标题");
    let messages = json_of(as_coach("GET", &format!("{chats}/messages"))).await;
    let reply = &messages["items"][1]["id"];
    let resumed = ok(as_coach("GET", &format!("/api/xcx/chat/stream/{reply}"))).await;
    assert!(resumed.text().await.unwrap().contains("event: done"));
    let feedback = as_coach("PUT", &format!("/api/xcx/chat/messages/{reply}/feedback"));
    assert_eq!(
        json_of(feedback.json(&json!({ "rating": "up" }))).await["rating"],
        "up"
    );
    let report = json!({ "subjectType": "message", "subjectId": reply, "reason": "other" });
    ok(as_coach("POST", "/api/xcx/reports").json(&report)).await;
    for path in ["openers", "bots", "search?q=你好"] {
        let found = json_of(as_coach("GET", &format!("/api/xcx/chat/{path}"))).await;
        assert!(found["items"].is_array(), "{path}: {found}");
    }
    ok(as_coach("DELETE", &chats)).await;
}

#[tokio::test]
async fn an_empty_bearer_gives_no_access_and_lifts_no_rule() {
    let parlor = Parlor::start().await;
    let history = "/console/api/xcx/chat/history";
    for value in ["Bearer", "Bearer ", "bearer"] {
        let request = parlor.request("GET", history);
        let nobody = request.header("authorization", value).send().await.unwrap();
        assert_eq!(nobody.status(), 401, "{value}");
        let other = parlor
            .request("POST", "/console/markdown")
            .header("authorization", value)
            .header("cookie", format!("parlor_token={}", token(COACH)))
            .header("sec-fetch-site", "cross-site")
            .json(&json!({ "texts": [] }));
        assert_eq!(other.send().await.unwrap().status(), 403, "{value}");
    }
    // A token of its own counts, even beside a cookie.
    let request = parlor.request("GET", history).bearer_auth("nonsense");
    let request = request.header("cookie", format!("parlor_token={}", token(COACH)));
    assert_eq!(request.send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn markdown_of_replies_becomes_harmless_html() {
    let parlor = Parlor::start().await;
    let request = of_page(&parlor, COACH, "POST", "/markdown");
    let texts = json!({ "texts": ["**好**", "<script>alert(1)</script>", ""] });
    let rendered = json_of(request.json(&texts)).await;
    assert_eq!(
        rendered,
        json!({ "html": ["<p><strong>好</strong></p>\n", "", ""] })
    );
    let nobody = parlor
        .request("POST", "/console/markdown")
        .header("sec-fetch-site", "same-origin");
    let nobody = nobody.json(&texts).send().await.unwrap();
    assert_eq!(nobody.status(), 303);
}
