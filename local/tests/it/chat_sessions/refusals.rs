//! Errors of the session API and their order.

use serde_json::{Value, json};

use crate::harness::{
    parlor::{COACH, OTHER_SITE, Parlor, STAFF, answer, token},
    sessions::{AGENT_GONE, BOT, DISABLED, GRANTED, MANAGER, OTHER_SITES, SESSIONS, WITHOUT_AGENT},
};

/// Every call about a session, valid except for the session id.
fn calls(id: &str) -> Vec<(&'static str, String, Value)> {
    let path = format!("{SESSIONS}/{id}");
    vec![
        ("GET", path.clone(), Value::Null),
        ("PATCH", path.clone(), json!({ "title": "改名" })),
        ("DELETE", path.clone(), Value::Null),
        ("GET", format!("{path}/messages"), Value::Null),
        (
            "POST",
            format!("{path}/messages"),
            json!({ "content": "你好" }),
        ),
        ("PUT", format!("{path}/read"), Value::Null),
    ]
}

async fn refused(parlor: &Parlor, user: i64, id: &str, status: u16, code: &str) {
    for (method, path, body) in calls(id) {
        let answer = parlor.call(user, method, &path, &body).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        answer.refused_at(&path, status, code);
    }
}

#[tokio::test]
async fn a_missing_or_foreign_session_is_refused_on_every_route() {
    let parlor = Parlor::start().await;
    let id = parlor.begin_session(COACH).await;
    parlor.create_message(COACH, &id, "你好").await;
    let before = parlor.session(COACH, &id).await;
    let unknown = "00000000-0000-4000-8000-00000000abcd";
    refused(&parlor, COACH, unknown, 404, "not_found").await;
    refused(&parlor, OTHER_SITE, &id, 404, "not_found").await;
    refused(&parlor, STAFF, &id, 403, "not_owner").await;
    assert_eq!(parlor.session(COACH, &id).await, before);
    assert_eq!(parlor.session_messages(COACH, &id, "").await["count"], 1);
}

#[tokio::test]
async fn a_conversation_without_a_bot_is_not_a_session() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.send(COACH, chat, "你好").await.ok();
    let id: uuid::Uuid = sqlx::query_scalar("select public_id from biz.ai_conversations")
        .fetch_one(&parlor.db)
        .await
        .unwrap();
    refused(&parlor, COACH, &id.to_string(), 400, "invalid_request").await;
    // Other users get the errors for any conversation.
    refused(&parlor, STAFF, &id.to_string(), 403, "not_owner").await;
    refused(&parlor, OTHER_SITE, &id.to_string(), 404, "not_found").await;
    assert_eq!(parlor.messages(COACH, chat).await.len(), 2);
    assert_eq!(parlor.get(COACH, SESSIONS).await.ok()["total"], 0);
}

#[tokio::test]
async fn an_id_that_is_not_a_uuid_is_refused_on_every_route() {
    let parlor = Parlor::start().await;
    for id in [
        "1",
        "abc",
        "00000000-0000-4000-8000-00000000000",
        "00000000000040008000000000000001",
        "%7B00000000-0000-4000-8000-000000000001%7D",
        "urn:uuid:00000000-0000-4000-8000-000000000001",
        "%00",
        "%FF",
        "%F0%9F%8E%B1",
        "'--",
    ] {
        refused(&parlor, COACH, id, 400, "invalid_request").await;
    }
    let odd = parlor.get(COACH, &format!("{SESSIONS}/1")).await;
    assert_eq!(
        (&odd.body["field"], &odd.body["error"]),
        (&json!("id"), &json!("id is not a valid id"))
    );
}

/// `limit=abc` and `offset=-1` must not cause a 500.
#[tokio::test]
async fn an_invalid_query_is_refused_by_field() {
    let parlor = Parlor::start().await;
    let id = parlor.begin_session(COACH).await;
    let message = parlor.create_message(COACH, &id, "你好").await;
    let list = SESSIONS.to_owned();
    let messages = format!("{SESSIONS}/{id}/messages");
    for (path, query, field) in [
        (&list, "limit=0", "limit"),
        (&list, "limit=-1", "limit"),
        (&list, "limit=abc", "limit"),
        (&list, "limit=", "limit"),
        (&list, "limit=1.5", "limit"),
        (&list, "limit=-99999999999999999999", "limit"),
        (&list, "limit=1&limit=1", "limit"),
        (&list, "offset=-1", "offset"),
        (&list, "offset=abc", "offset"),
        (&list, "offset=99999999999999999999", "offset"),
        (&list, "cursor=abc", "cursor"),
        (&list, "cursor=%00", "cursor"),
        (&list, "cursor=abc&offset=0", "cursor"),
        (&list, "status=open", "status"),
        (&list, "status=", "status"),
        (&list, "bot_id=1", "bot_id"),
        (&list, "bot_id=", "bot_id"),
        (&list, "bot_id=%FF", "bot_id"),
        (&messages, "limit=0", "limit"),
        (&messages, "limit=abc", "limit"),
        (&messages, "before=abc", "before"),
        (&messages, "before=0", "before"),
        (&messages, "before=-1", "before"),
        (&messages, "after=", "after"),
        (&messages, "after=99999999999999999999", "after"),
        (
            &messages,
            &format!("before={message}&after={message}"),
            "after",
        ),
    ] {
        let refused = parlor.get(COACH, &format!("{path}?{query}")).await;
        assert_eq!(refused.status, 400, "{query}: {}", refused.body);
        refused.refused_at(path, 400, "invalid_request");
        assert_eq!(refused.body["field"], field, "{query}");
    }
}

#[tokio::test]
async fn an_invalid_body_is_refused_by_field() {
    let parlor = Parlor::start().await;
    let id = parlor.begin_session(COACH).await;
    let (one, messages) = (
        format!("{SESSIONS}/{id}"),
        format!("{SESSIONS}/{id}/messages"),
    );
    let long = "长".repeat(8_001);
    let long_title = "长".repeat(101);
    for (method, path, body, field) in [
        ("POST", SESSIONS, json!({}), "bot_id"),
        ("POST", SESSIONS, json!({ "bot_id": null }), "bot_id"),
        ("POST", SESSIONS, json!({ "bot_id": 1 }), "bot_id"),
        ("POST", SESSIONS, json!({ "bot_id": "1" }), "bot_id"),
        (
            "POST",
            SESSIONS,
            json!({ "bot_id": BOT, "title": " " }),
            "title",
        ),
        (
            "POST",
            SESSIONS,
            json!({ "bot_id": BOT, "title": 7 }),
            "title",
        ),
        (
            "POST",
            SESSIONS,
            json!({ "bot_id": BOT, "title": "\0" }),
            "title",
        ),
        (
            "POST",
            SESSIONS,
            json!({ "bot_id": BOT, "title": long_title }),
            "title",
        ),
        ("PATCH", &*one, json!({ "title": "" }), "title"),
        ("PATCH", &*one, json!({ "status": "closed" }), "status"),
        ("PATCH", &*one, json!({ "status": "open" }), "status"),
        ("PATCH", &*one, json!({ "status": true }), "status"),
        ("POST", &*messages, json!({}), "content"),
        (
            "POST",
            &*messages,
            json!({ "content": " \u{3000}\n" }),
            "content",
        ),
        ("POST", &*messages, json!({ "content": "a\0" }), "content"),
        ("POST", &*messages, json!({ "content": long }), "content"),
        (
            "POST",
            &*messages,
            json!({ "content": "好", "content_type": "html" }),
            "content_type",
        ),
        (
            "POST",
            &*messages,
            json!({ "content": "好", "reply_to": "1" }),
            "reply_to",
        ),
        ("POST", &*messages, json!([]), "body"),
    ] {
        let refused = parlor.call(COACH, method, path, &body).await;
        assert_eq!(refused.status, 400, "{body}: {}", refused.body);
        refused.refused_at(path, 400, "invalid_request");
        assert_eq!(refused.body["field"], field, "{body}");
    }
    assert_eq!(parlor.get(COACH, SESSIONS).await.ok()["total"], 1);
    // A change without fields is valid.
    let same = parlor.call(COACH, "PATCH", &one, &json!({})).await;
    assert_eq!(same.ok()["session"]["title"], "Chat with 小台");
}

#[tokio::test]
async fn an_unavailable_bot_is_refused_with_the_reason() {
    let parlor = Parlor::start().await;
    for (user, bot, status, code) in [
        (
            COACH,
            "00000000-0000-4000-8000-00000000abcd",
            404,
            "not_found",
        ),
        (COACH, OTHER_SITES, 404, "not_found"),
        (OTHER_SITE, GRANTED, 404, "not_found"),
        (COACH, GRANTED, 403, "forbidden"),
        (COACH, DISABLED, 403, "forbidden"),
        (MANAGER, DISABLED, 403, "forbidden"),
        (COACH, WITHOUT_AGENT, 400, "invalid_request"),
        (COACH, AGENT_GONE, 404, "not_found"),
    ] {
        let refused = parlor.post(user, SESSIONS, &json!({ "bot_id": bot })).await;
        assert_eq!(refused.status, status, "{user} {bot}: {}", refused.body);
        refused.refused_at(SESSIONS, status, code);
    }
    assert_eq!(parlor.get(COACH, SESSIONS).await.ok()["total"], 0);
}

#[tokio::test]
async fn errors_are_checked_in_the_documented_order() {
    let parlor = Parlor::start().await;
    let (mine, other) = (
        parlor.begin_session(COACH).await,
        parlor.begin_session(STAFF).await,
    );
    parlor
        .execute("update biz.ai_conversations set status = 'closed'")
        .await;
    parlor
        .execute("update biz.ai_budgets set daily_limit = 0")
        .await;
    let send = |id: String, kind: &'static str, body: String, key: Option<&'static str>| {
        let path = format!("{SESSIONS}/{id}/messages");
        let mut request = parlor
            .request("POST", &path)
            .bearer_auth(token(COACH))
            .header("content-type", kind)
            .body(body);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        answer(request)
    };
    let good = || json!({ "content": "你好" }).to_string();
    let (json, text) = ("application/json", "text/plain");
    for (id, kind, body, key, status, code) in [
        (
            "1",
            text,
            "[".repeat(200 * 1024),
            Some(""),
            413,
            "payload_too_large",
        ),
        (
            "1",
            text,
            "{".into(),
            Some(""),
            415,
            "unsupported_media_type",
        ),
        ("1", json, "{".into(), Some(""), 400, "invalid_json"),
        ("1", json, good(), None, 400, "invalid_request"),
        (&other, json, "{}".into(), None, 400, "invalid_request"),
        (&other, json, good(), Some(""), 400, "invalid_request"),
        (&other, json, good(), None, 403, "not_owner"),
        (&mine, json, good(), None, 400, "invalid_request"),
    ] {
        let refused = send(id.to_owned(), kind, body, key).await;
        assert_eq!(refused.status, status, "{id} {code}: {}", refused.body);
        refused.refused_at(SESSIONS, status, code);
    }
    parlor
        .execute("update biz.ai_conversations set status = 'active'")
        .await;
    send(mine.clone(), json, good(), None)
        .await
        .refused_at(SESSIONS, 429, "budget_exceeded");

    let path = format!("{SESSIONS}/{mine}");
    let refused = answer(parlor.request("POST", &path)).await;
    refused.refused_at(&path, 405, "method_not_allowed");
    let allow = refused.headers["allow"].to_str().unwrap();
    assert!(
        ["GET", "PATCH", "DELETE"]
            .iter()
            .all(|method| allow.contains(method)),
        "{allow}"
    );
}
