//! `POST /api/chat/sessions/{id}/messages`: what is stored, and that nothing is lost.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{
    parlor::{COACH, Parlor, Setup},
    sessions::SESSIONS,
    until,
};

/// The fifteenth trap: counters that were read, changed and written back.
#[tokio::test]
async fn fifty_messages_at_once_are_all_stored_counted_and_queued_once() {
    let parlor = Parlor::start().await;
    let id = parlor.begin_session(COACH).await;
    let contents: Vec<String> = (0..50).map(|number| format!("第{number}问")).collect();
    // Who comes too late for the database's patience is told so, and sends again what may have been stored.
    let answers = join_all(contents.iter().enumerate().map(async |(number, content)| {
        let (key, body) = (format!("k-{number}"), json!({ "content": content }));
        until("the message is taken", async || {
            let answer = parlor.say_once(COACH, &id, &key, &body).await;
            assert!(matches!(answer.status.as_u16(), 201 | 503), "{answer:?}");
            (answer.status == 201).then_some(answer)
        })
        .await
    }))
    .await;
    for (answer, content) in answers.iter().zip(&contents) {
        assert_eq!(answer.created()["message"]["content"], **content);
    }
    let stored: Vec<(i64, String)> =
        sqlx::query_as("select seq, content from biz.ai_messages order by seq")
            .fetch_all(&parlor.db)
            .await
            .unwrap();
    let numbers: Vec<i64> = stored.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(numbers, (1..=50).collect::<Vec<_>>());
    let mut found: Vec<&String> = stored.iter().map(|(_, content)| content).collect();
    let mut expected: Vec<&String> = contents.iter().collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    let session = parlor.session(COACH, &id).await;
    assert_eq!(
        (&session["message_count"], &session["unread_count"]),
        (&json!(50), &json!(0))
    );
    let list = parlor.get(COACH, SESSIONS).await;
    assert_eq!(
        list.ok()["sessions"][0]["last_message"]["content"],
        stored[49].1
    );
    let jobs: i64 =
        sqlx::query_scalar("select count(distinct message_id) from biz.ai_trigger_jobs")
            .fetch_one(&parlor.db)
            .await
            .unwrap();
    assert_eq!(jobs, 50);
}

/// The seventeenth trap: a reply to a message of another session was taken.
#[tokio::test]
async fn a_message_replies_to_one_of_its_own_session_alone() {
    let parlor = Parlor::start().await;
    let (here, there) = (
        parlor.begin_session(COACH).await,
        parlor.begin_session(COACH).await,
    );
    let (mine, other) = (
        parlor.said(COACH, &here, "一").await,
        parlor.said(COACH, &there, "二").await,
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
    // Nor does a page begin at one.
    for direction in ["before", "after"] {
        for id in [other, 4_711, i64::MAX] {
            let refused = parlor.get(COACH, &format!("{path}?{direction}={id}")).await;
            refused.refused_at(&path, 400, "invalid_request");
            assert_eq!(refused.body["field"], direction, "{id}");
        }
    }
    assert_eq!(parlor.heard(COACH, &here, "").await["count"], 2);
}

#[tokio::test]
async fn a_message_is_shown_as_it_was_meant() {
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
    let page = parlor.heard(COACH, &id, "limit=3").await;
    assert_eq!(page["messages"][0]["content_type"], "text");
    let longest = "长".repeat(8_000);
    let sent = parlor
        .say(COACH, &id, &format!("\u{3000}{longest}\n"))
        .await;
    assert_eq!(sent.created()["message"]["content"], longest);
}

#[tokio::test]
async fn a_failed_reply_says_so_and_the_question_counts_as_answered() {
    let parlor = Parlor::start().await;
    let id = parlor.begin_session(COACH).await;
    let question = parlor.said(COACH, &id, "你好").await;
    parlor.reply(question, "failed", "Later.").await;
    let page = parlor.heard(COACH, &id, "").await;
    let told: Vec<_> = page["messages"].as_array().unwrap().iter().collect();
    assert_eq!(told[0]["ack_status"], "acked");
    assert_eq!(
        (&told[1]["status"], &told[1]["ack_status"]),
        (&json!("failed"), &json!("pending"))
    );
}

#[tokio::test]
async fn whoever_sends_too_much_or_has_no_budget_left_is_told_when_to_come_back() {
    let parlor = Parlor::start_with(Setup {
        env: vec![("CHAT_RATE_PER_MINUTE", "3".into())],
        ..Setup::default()
    })
    .await;
    let id = parlor.begin_session(COACH).await;
    let answers = join_all((0..8).map(|_| parlor.say(COACH, &id, "你好"))).await;
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
    let refused = parlor.say(COACH, &id, "你好").await;
    refused.refused_at(SESSIONS, 429, "budget_exceeded");
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(parlor.session(COACH, &id).await["message_count"], 3);
}
