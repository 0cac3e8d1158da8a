//! `POST /api/chat/sessions/{id}/messages`: every message is stored once.

use std::time::Duration;

use axum::{body::Body, http::Request};
use futures_util::future::join_all;
use local::gateway;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::harness::{
    parlor::{COACH, Parlor, Setup, answer_of},
    sessions::SESSIONS,
};

/// Counters must not be read, changed and written back.
#[tokio::test]
async fn a_thousand_concurrent_messages_are_stored_counted_and_queued_once() {
    let parlor = Parlor::start().await;
    let id = parlor.begin_session(COACH).await;
    let path = format!("{SESSIONS}/{id}/messages");
    let expected: Vec<(String, String)> = (1..=1_000)
        .map(|number| (format!("k-{number}"), format!("第{number}问")))
        .collect();
    // Without a socket, because a test may not open so many connections on every machine.
    let app = gateway::app(&parlor.tools);
    let send = async |key: &str, content: &str| {
        let request = parlor.request_as(COACH, "POST", &path);
        let request = request.header("Idempotency-Key", key);
        let request = request.json(&json!({ "content": content }));
        let request = Request::try_from(request.build().unwrap()).unwrap();
        answer_of(app.clone(), request.map(Body::new)).await
    };
    // A request that times out in the database gets a 503 with `retry_after`. Each client waits
    // longer after each retry, and clients wait for different times.
    let give_up = Instant::now() + Duration::from_secs(180);
    let clients = expected.iter().zip(1..);
    let answers = join_all(clients.map(async |((key, content), number)| {
        let mut tries = 0;
        loop {
            tries += 1;
            let answer = send(key, content).await;
            if answer.status == 201 {
                return answer;
            }
            assert_eq!(answer.status, 503, "{answer:?}");
            assert!(Instant::now() < give_up, "{key} is not accepted in time");
            let seconds = answer.body["retry_after"].as_u64().unwrap();
            sleep(Duration::from_millis((seconds * 1_000 + number) * tries)).await;
        }
    }))
    .await;

    let stored: Vec<(i64, i64, String, String, i64)> = sqlx::query_as(
        "select m.id, m.seq, k.key, m.content, (select count(*) from biz.ai_trigger_jobs j where j.message_id = m.id)
         from biz.ai_messages m left join biz.ai_idempotency_keys k on k.message_id = m.id
         where m.role = 'user' order by m.seq",
    )
    .fetch_all(&parlor.db)
    .await
    .unwrap();
    let numbers: Vec<i64> = stored.iter().map(|(_, seq, ..)| *seq).collect();
    assert_eq!(numbers, (1..=1_000).collect::<Vec<_>>());
    assert!(stored.iter().all(|(.., jobs)| *jobs == 1));
    // Each client received its own message.
    let mut returned: Vec<_> = (expected.iter().zip(&answers))
        .map(|((key, content), answer)| {
            let message = &answer.created()["message"];
            assert_eq!(message["content"], **content);
            (message["id"].as_i64().unwrap(), key, content)
        })
        .collect();
    let mut kept: Vec<_> = (stored.iter())
        .map(|(id, _, key, content, _)| (*id, key, content))
        .collect();
    returned.sort_unstable();
    kept.sort_unstable();
    assert_eq!(returned, kept);
    let everything: (i64, i64, i64) = sqlx::query_as(
        "select (select count(*) from biz.ai_messages), (select count(*) from biz.ai_idempotency_keys),
                (select count(*) from biz.ai_trigger_jobs)",
    )
    .fetch_one(&parlor.db)
    .await
    .unwrap();
    assert_eq!(everything, (1_000, 1_000, 1_000));

    let list = parlor.get(COACH, SESSIONS).await;
    let session = &list.ok()["sessions"][0];
    assert_eq!(
        (&session["message_count"], &session["unread_count"]),
        (&json!(1_000), &json!(0))
    );
    assert_eq!(session["last_message"]["content"], stored[999].3);
}

/// A reply to a message of another session must be refused.
#[tokio::test]
async fn a_message_can_reply_only_to_a_message_of_its_session() {
    let parlor = Parlor::start().await;
    let (here, there) = (
        parlor.begin_session(COACH).await,
        parlor.begin_session(COACH).await,
    );
    let (mine, other) = (
        parlor.create_message(COACH, &here, "一").await,
        parlor.create_message(COACH, &there, "二").await,
    );
    let path = format!("{SESSIONS}/{here}/messages");
    let sent = parlor
        .post(COACH, &path, &json!({ "content": "三", "reply_to": mine }))
        .await;
    assert_eq!(sent.created()["message"]["reply_to"], mine);
    for reply_to in [other, 4_711, 0, -1, i64::MAX] {
        let body = json!({ "content": "三", "reply_to": reply_to });
        let refused = parlor.post(COACH, &path, &body).await;
        refused.refused_at(&path, 400, "invalid_request");
        assert_eq!(refused.body["field"], "reply_to", "{reply_to}");
    }
    // A page cannot start at a message of another session either.
    for direction in ["before", "after"] {
        for id in [other, 4_711, i64::MAX] {
            let refused = parlor.get(COACH, &format!("{path}?{direction}={id}")).await;
            refused.refused_at(&path, 400, "invalid_request");
            assert_eq!(refused.body["field"], direction, "{id}");
        }
    }
    assert_eq!(parlor.session_messages(COACH, &here, "").await["count"], 2);
}

#[tokio::test]
async fn content_type_and_trimmed_text_are_stored() {
    let parlor = Parlor::start().await;
    let id = parlor.begin_session(COACH).await;
    let path = format!("{SESSIONS}/{id}/messages");
    for (content_type, expected) in [
        (json!("text"), "text"),
        (json!("markdown"), "markdown"),
        (Value::Null, "markdown"),
    ] {
        let body = json!({ "content": "**好**", "content_type": content_type });
        let sent = parlor.post(COACH, &path, &body).await;
        assert_eq!(sent.created()["message"]["content_type"], expected);
    }
    let page = parlor.session_messages(COACH, &id, "limit=3").await;
    assert_eq!(page["messages"][0]["content_type"], "text");
    let longest = "长".repeat(8_000);
    let sent = parlor
        .post_message(COACH, &id, &format!("\u{3000}{longest}\n"))
        .await;
    assert_eq!(sent.created()["message"]["content"], longest);
}

#[tokio::test]
async fn a_failed_reply_is_marked_and_its_question_counts_as_answered() {
    let parlor = Parlor::start().await;
    let id = parlor.begin_session(COACH).await;
    let question = parlor.create_message(COACH, &id, "你好").await;
    parlor.reply(question, "failed", "Later.").await;
    let page = parlor.session_messages(COACH, &id, "").await;
    let returned: Vec<_> = page["messages"].as_array().unwrap().iter().collect();
    assert_eq!(returned[0]["ack_status"], "acked");
    assert_eq!(
        (&returned[1]["status"], &returned[1]["ack_status"]),
        (&json!("failed"), &json!("pending"))
    );
}

#[tokio::test]
async fn rate_limit_and_budget_errors_have_retry_after() {
    let parlor = Parlor::start_with(Setup {
        env: vec![("CHAT_RATE_PER_MINUTE", "3".into())],
        ..Setup::default()
    })
    .await;
    let id = parlor.begin_session(COACH).await;
    let answers = join_all((0..8).map(|_| parlor.post_message(COACH, &id, "你好"))).await;
    let (taken, refused): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == 201);
    assert_eq!((taken.len(), refused.len()), (3, 5));
    for answer in refused {
        answer.refused_at(SESSIONS, 429, "rate_limited");
        let seconds = answer.body["retry_after"].as_i64().unwrap();
        assert!((1..=60).contains(&seconds));
        assert_eq!(answer.headers["retry-after"], &*seconds.to_string());
    }
    parlor
        .execute("update biz.ai_messages set created_at = created_at - interval '2 minutes'")
        .await;
    parlor
        .execute("update biz.ai_budgets set daily_limit = 0")
        .await;
    let refused = parlor.post_message(COACH, &id, "你好").await;
    refused.refused_at(SESSIONS, 429, "budget_exceeded");
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(parlor.session(COACH, &id).await["message_count"], 3);
}
