//! A repeated `clientMessageId` returns the stored message and reply, without another call or
//! charge.

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::{
    events::{terminal, text},
    invariants,
    parlor::{COACH, Parlor},
};

#[tokio::test]
async fn a_repeat_of_a_client_message_id_is_the_same_message() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let path = format!("/api/xcx/chat/{chat}/messages");
    let body = json!({ "content": "你好", "clientMessageId": "c-1" });
    let first = parlor.post(COACH, &path, &body).await;
    let again = parlor.post(COACH, &path, &body).await;
    assert_eq!(first.ok(), again.ok());
    assert_eq!(parlor.simulator.calls_count(), 1);
    let other = json!({ "content": "别的", "clientMessageId": "c-1" });
    assert_eq!(
        parlor
            .post(COACH, &path, &other)
            .await
            .refused(422, "invalid_request")["field"],
        "clientMessageId"
    );
    let streamed = json!({ "chatId": chat, "content": "你好", "clientMessageId": "c-1" });
    let events = parlor.stream_body(COACH, &streamed).await.rest().await;
    assert_eq!(
        text(&events),
        first.body["aiReply"]["content"].as_str().unwrap()
    );
    assert_eq!(
        (
            parlor.simulator.calls_count(),
            parlor.messages(COACH, chat).await.len()
        ),
        (1, 2)
    );
}

#[tokio::test]
async fn ten_concurrent_requests_with_one_id_are_one_message_one_reply_one_run() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let body = json!({ "content": "你好", "clientMessageId": "同一条" });
    let path = format!("/api/xcx/chat/{chat}/messages");
    let answers = join_all((0..10).map(|_| parlor.post(COACH, &path, &body))).await;
    // A reply has at most three readers. A further one replaces the oldest one.
    let mut complete = Vec::new();
    for answer in &answers {
        let (message, reply) = (&answer.ok()["userMessage"], &answer.ok()["aiReply"]);
        assert_eq!(*message, answers[0].ok()["userMessage"]);
        assert_eq!(reply["id"], answers[0].ok()["aiReply"]["id"]);
        match reply["status"].as_str() {
            Some("complete") => complete.push(reply),
            status => assert_eq!(status, Some("streaming")),
        }
    }
    assert!(complete.len() >= 4, "{complete:?}");
    assert!(complete.iter().all(|reply| *reply == complete[0]));
    assert_eq!(
        (
            parlor.simulator.calls_count(),
            parlor.messages(COACH, chat).await.len()
        ),
        (1, 2)
    );
}

#[tokio::test]
async fn ten_concurrent_streams_with_one_id_are_one_reply() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let content = "[[sim:echo]]一次就够了，多按几下也一样。";
    let body = json!({ "chatId": chat, "content": content, "clientMessageId": "同一条" });
    let streams = join_all((0..10).map(async |_| {
        let events = parlor.stream_body(COACH, &body).await.rest().await;
        terminal(&events);
        events
    }))
    .await;
    // A reply has at most three readers. A further one replaces the oldest one.
    let (replaced, complete): (Vec<_>, Vec<_>) = streams
        .iter()
        .partition(|events| terminal(events).data["code"] == "replaced");
    assert!(complete.len() >= 4, "{replaced:?}");
    for events in &complete {
        assert_eq!(text(events), content);
    }
    assert!(streams.iter().all(|events| events[0] == streams[0][0]));
    assert_eq!(
        (
            parlor.simulator.calls_count(),
            parlor.messages(COACH, chat).await.len()
        ),
        (1, 2)
    );
    let runs: i64 = sqlx::query_scalar("select count(*) from biz.ai_run_logs")
        .fetch_one(&parlor.db)
        .await
        .unwrap();
    assert_eq!(runs, 1);
}

#[tokio::test]
async fn a_repeat_waits_for_the_running_reply_and_a_stream_joins_it() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.simulator.hold_after(2);
    let content = "[[sim:echo]]正在回答的时候又按了一次。";
    let body = json!({ "chatId": chat, "content": content, "clientMessageId": "c" });
    let mut stream = parlor.stream_body(COACH, &body).await;
    let mut events = vec![stream.expect("start").await];
    let mut joined = parlor.stream_body(COACH, &body).await;
    assert_eq!(joined.expect("start").await, events[0]);
    let path = format!("/api/xcx/chat/{chat}/messages");
    let piece = json!({ "content": content, "clientMessageId": "c" });
    let release = async {
        parlor.simulator.held(1).await;
        parlor.simulator.release();
    };
    let (answer, ()) = tokio::join!(parlor.post(COACH, &path, &piece), release);
    assert_eq!(answer.ok()["aiReply"]["id"], events[0].data["messageId"]);
    assert_eq!(answer.body["aiReply"]["content"], content);
    events.extend(stream.rest().await);
    let end = terminal(&events);
    assert_eq!(joined.rest().await.last(), Some(end));
    assert_eq!(parlor.simulator.calls_count(), 1);
}

#[tokio::test]
async fn a_repeat_of_a_failed_message_returns_the_failure_without_a_call() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let body = json!({ "content": "[[sim:unauthorized]]你好", "clientMessageId": "c" });
    let path = format!("/api/xcx/chat/{chat}/messages");
    let first = parlor.post(COACH, &path, &body).await;
    assert_eq!(first.ok()["aiReply"]["status"], "failed");
    let again = parlor.post(COACH, &path, &body).await;
    assert_eq!(again.ok(), first.ok());
    assert_eq!(parlor.simulator.calls_count(), 1);
}

#[tokio::test]
async fn a_refused_message_is_not_remembered() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let limit = async |tokens: i64| {
        sqlx::query("update biz.ai_budgets set daily_limit = $1")
            .bind(tokens)
            .execute(&parlor.db)
            .await
            .unwrap();
    };
    let body = json!({ "content": "你好", "clientMessageId": "c" });
    let path = format!("/api/xcx/chat/{chat}/messages");
    limit(0).await;
    parlor
        .post(COACH, &path, &body)
        .await
        .refused(429, "budget_exceeded");
    limit(100_000).await;
    parlor.post(COACH, &path, &body).await.ok();
    assert_eq!(parlor.messages(COACH, chat).await.len(), 2);
}

#[tokio::test]
async fn the_same_id_in_another_conversation_is_another_message() {
    let parlor = Parlor::start().await;
    let chats = [parlor.open(COACH, "1").await, parlor.open(COACH, "2").await];
    for chat in chats {
        let body = json!({ "content": "你好", "clientMessageId": "c" });
        let path = format!("/api/xcx/chat/{chat}/messages");
        parlor.post(COACH, &path, &body).await.ok();
    }
    assert_eq!(parlor.simulator.calls_count(), 2);
}

#[tokio::test]
async fn duplicate_message_is_billed_once() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let body = json!({ "content": "你好", "clientMessageId": "c" });
    let path = format!("/api/xcx/chat/{chat}/messages");
    join_all((0..10).map(|_| parlor.post(COACH, &path, &body))).await;
    let run = parlor.last_run().await;
    let usage = parlor.usage(1).await;
    assert_eq!(usage["calls"], 1);
    assert_eq!(usage["tokens"], run["tokens_used"]);
    invariants::check_books(&parlor).await;
}
