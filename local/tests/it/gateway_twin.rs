//! The emulated cloud returns the same over HTTP as the local server.

use serde_json::{Value, json};

use crate::harness::{
    cloud::Cloud,
    parlor::{Answer, COACH, STAFF, answer, client, serve, token},
    routes::SITE_ADMIN,
    sessions::{BOT, SESSIONS},
};

/// The names and types in a body, without values that differ between calls.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), shape(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::String(_) => "text".into(),
        Value::Number(_) => "number".into(),
        other => other.clone(),
    }
}

fn content_type(answer: &Answer) -> Option<&str> {
    answer.headers.get("content-type")?.to_str().ok()
}

/// A cloud, and the URL of its emulated API Gateway.
async fn twins() -> (Cloud, String) {
    let cloud = Cloud::start().await;
    let app = cloud
        .emulator
        .router(local::cloud::routes().unwrap())
        .unwrap();
    let twin = serve(app).await;
    (cloud, twin)
}

/// Sends the request to both and checks that status, content type and shape are equal.
async fn compare(
    cloud: &Cloud,
    twin: &str,
    user: Option<i64>,
    method: &str,
    path: &str,
    body: Option<&Value>,
    status: u16,
) {
    let http = client();
    let ask = async |address: &str| {
        let mut request = http.request(method.parse().unwrap(), format!("{address}{path}"));
        if let Some(user) = user {
            request = request.bearer_auth(token(user));
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        answer(request).await
    };
    let (here, there) = (ask(&cloud.parlor.address).await, ask(twin).await);
    assert_eq!(there.status, status, "{method} {path}: {}", there.body);
    assert_eq!(here.status, status, "{method} {path}: {}", here.body);
    assert_eq!(content_type(&here), content_type(&there), "{method} {path}");
    assert_eq!(shape(&here.body), shape(&there.body), "{method} {path}");
}

#[tokio::test]
async fn gateway_and_local_server_return_the_same() {
    let (cloud, twin) = twins().await;

    let chat = cloud.parlor.open(COACH, "t").await;
    cloud
        .parlor
        .send(COACH, chat, "[[sim:echo]]你好")
        .await
        .ok();
    let messages = format!("/api/xcx/chat/{chat}/messages");
    for (user, method, path, body, status) in [
        (Some(COACH), "GET", "/api/xcx/chat/history", None, 200),
        (None, "GET", "/api/xcx/chat/history", None, 401),
        (
            Some(COACH),
            "GET",
            "/api/xcx/chat/history?page=0",
            None,
            422,
        ),
        (Some(COACH), "GET", &messages, None, 200),
        (Some(STAFF), "GET", &messages, None, 403),
        (Some(COACH), "GET", "/api/xcx/chat/4711/messages", None, 404),
        (
            Some(COACH),
            "GET",
            "/api/xcx/chat/messages?contextType=task&contextId=%E5%8F%B0",
            None,
            200,
        ),
        (
            Some(COACH),
            "POST",
            &messages,
            Some(json!({ "content": "[[sim:echo]]再见" })),
            200,
        ),
        (
            Some(COACH),
            "POST",
            &messages,
            Some(json!({ "content": 7 })),
            422,
        ),
        (
            Some(COACH),
            "POST",
            "/api/xcx/chat/stream",
            Some(json!({ "chatId": chat, "content": "[[sim:echo]]好" })),
            200,
        ),
        (Some(COACH), "GET", "/api/xcx/nowhere", None, 404),
        (Some(COACH), "GET", "/api/chat/nowhere", None, 404),
        (Some(COACH), "GET", "/api/admin/nowhere", None, 404),
        (
            Some(SITE_ADMIN),
            "POST",
            "/api/admin/ai/trigger-jobs",
            Some(json!({ "event_type": "etl.finished" })),
            202,
        ),
        (
            Some(COACH),
            "POST",
            "/api/admin/ai/trigger-jobs",
            Some(json!({ "event_type": "etl.finished" })),
            403,
        ),
    ] {
        compare(&cloud, &twin, user, method, path, body.as_ref(), status).await;
    }
}

#[tokio::test]
async fn gateway_and_local_server_return_the_same_for_sessions() {
    let (cloud, twin) = twins().await;
    let session = cloud.parlor.begin_session(COACH).await;
    let session = format!("{SESSIONS}/{session}");
    let read = format!("{session}/read");
    for (user, method, path, body, status) in [
        (
            Some(COACH),
            "POST",
            "/api/chat/sessions",
            Some(json!({ "bot_id": BOT })),
            201,
        ),
        (Some(COACH), "GET", &session, None, 200),
        (
            Some(COACH),
            "PATCH",
            &session,
            Some(json!({ "status": "paused" })),
            200,
        ),
        (Some(COACH), "PUT", &read, None, 200),
        (Some(STAFF), "DELETE", &session, None, 403),
        (Some(COACH), "DELETE", &session, None, 200),
        (Some(COACH), "GET", "/api/chat/sessions/1", None, 400),
    ] {
        compare(&cloud, &twin, user, method, path, body.as_ref(), status).await;
    }
}
