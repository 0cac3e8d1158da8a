//! `Idempotency-Key`: a repeated request does not create a second message.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{
    parlor::{COACH, Parlor, answer},
    sessions::SESSIONS,
    until,
};

async fn stored(parlor: &Parlor) -> (i64, i64) {
    sqlx::query_as(
        "select (select count(*) from biz.ai_messages), (select count(*) from biz.ai_trigger_jobs)",
    )
    .fetch_one(&parlor.db)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_repeat_under_a_key_is_the_same_message_and_another_body_is_refused() {
    let parlor = Parlor::start().await;
    let id = parlor.begin_session(COACH).await;
    let body = json!({ "content": "你好" });
    let first = parlor.post_message_with_key(COACH, &id, "k", &body).await;
    let again = parlor.post_message_with_key(COACH, &id, "k", &body).await;
    assert_eq!(first.created(), again.created());
    // Omitted fields equal explicit defaults, and surrounding spaces are ignored.
    let same = json!({ "content": " 你好 ", "content_type": "markdown", "reply_to": null });
    let again = parlor.post_message_with_key(COACH, &id, "k", &same).await;
    assert_eq!(first.body, *again.created());
    let message = &first.body["message"]["id"];
    for other in [
        json!({ "content": "别的" }),
        json!({ "content": "你好", "content_type": "text" }),
        json!({ "content": "你好", "reply_to": message }),
    ] {
        let refused = parlor.post_message_with_key(COACH, &id, "k", &other).await;
        refused.refused_at(SESSIONS, 422, "invalid_request");
    }
    assert_eq!(stored(&parlor).await, (1, 1));
    // A repeat returns the original response, even if the session is closed.
    let path = format!("{SESSIONS}/{id}");
    answer(parlor.request_as(COACH, "DELETE", &path)).await.ok();
    let again = parlor.post_message_with_key(COACH, &id, "k", &body).await;
    assert_eq!(first.body, *again.created());
}

#[tokio::test]
async fn ten_concurrent_requests_with_one_key_are_one_message() {
    let parlor = Parlor::start().await;
    let id = parlor.begin_session(COACH).await;
    let body = json!({ "content": "你好" });
    // Requests that time out in the database are retried.
    let answers = join_all((0..10).map(|_| {
        until("the message is accepted", async || {
            let answer = parlor.post_message_with_key(COACH, &id, "k", &body).await;
            (answer.status != 503).then_some(answer)
        })
    }))
    .await;
    for answer in &answers {
        assert_eq!(answer.created(), &answers[0].body);
    }
    assert_eq!(stored(&parlor).await, (1, 1));
}

#[tokio::test]
async fn a_key_applies_to_one_session_and_two_keys_are_two_messages() {
    let parlor = Parlor::start().await;
    let (here, there) = (
        parlor.begin_session(COACH).await,
        parlor.begin_session(COACH).await,
    );
    let body = json!({ "content": "你好" });
    for (session, key) in [(&here, "k"), (&there, "k"), (&here, "K"), (&here, "k k")] {
        parlor
            .post_message_with_key(COACH, session, key, &body)
            .await
            .created();
    }
    // Messages without a key are never repeats.
    parlor.post_message(COACH, &here, "你好").await.created();
    assert_eq!(stored(&parlor).await, (5, 5));
}

#[tokio::test]
async fn a_key_expires_after_a_day_and_can_be_reused() {
    let parlor = Parlor::start().await;
    let id = parlor.begin_session(COACH).await;
    let first = parlor
        .post_message_with_key(COACH, &id, "k", &json!({ "content": "昨天" }))
        .await;
    parlor
        .execute("update biz.ai_idempotency_keys set created_at = now() - interval '23 hours 59 minutes'")
        .await;
    let again = parlor
        .post_message_with_key(COACH, &id, "k", &json!({ "content": "昨天" }))
        .await;
    assert_eq!(again.created(), first.created());
    parlor
        .execute(
            "update biz.ai_idempotency_keys set created_at = now() - interval '24 hours 1 minute'",
        )
        .await;
    let body = json!({ "content": "今天" });
    let second = parlor.post_message_with_key(COACH, &id, "k", &body).await;
    assert_ne!(
        second.created()["message"]["id"],
        first.body["message"]["id"]
    );
    let again = parlor.post_message_with_key(COACH, &id, "k", &body).await;
    assert_eq!(again.created(), second.created());
    assert_eq!(stored(&parlor).await, (2, 2));
}

#[tokio::test]
async fn a_refused_message_is_not_remembered() {
    let parlor = Parlor::start().await;
    let id = parlor.begin_session(COACH).await;
    let body = json!({ "content": "你好" });
    parlor
        .execute("update biz.ai_budgets set daily_limit = 0")
        .await;
    parlor
        .post_message_with_key(COACH, &id, "k", &body)
        .await
        .refused_at(SESSIONS, 429, "budget_exceeded");
    parlor
        .execute("update biz.ai_budgets set daily_limit = 100000")
        .await;
    let other = json!({ "content": "改了" });
    parlor
        .post_message_with_key(COACH, &id, "k", &other)
        .await
        .created();
}

#[tokio::test]
async fn a_key_is_1_to_64_printable_characters_in_one_header() {
    let parlor = Parlor::start().await;
    let id = parlor.begin_session(COACH).await;
    let path = format!("{SESSIONS}/{id}/messages");
    let send = |keys: Vec<Vec<u8>>| {
        let mut request = parlor
            .request_as(COACH, "POST", &path)
            .json(&json!({ "content": "你好" }));
        for key in keys {
            let value = reqwest::header::HeaderValue::from_bytes(&key).unwrap();
            request = request.header("Idempotency-Key", value);
        }
        answer(request)
    };
    for keys in [
        vec![vec![]],
        vec![vec![b'k'; 65]],
        vec!["键".into()],
        vec![vec![b'k', 0xff]],
        vec![b"a\tb".to_vec()],
        vec![b"k".to_vec(), b"k".to_vec()],
    ] {
        let refused = send(keys.clone()).await;
        refused.refused_at(&path, 400, "invalid_request");
        assert_eq!(refused.body["field"], "Idempotency-Key", "{keys:?}");
    }
    for key in [vec![b'k'; 64], b"!~ \"{}".to_vec()] {
        send(vec![key]).await.created();
    }
    let messages = parlor.session_messages(COACH, &id, "").await;
    assert_eq!(messages["count"], Value::from(2));
}
