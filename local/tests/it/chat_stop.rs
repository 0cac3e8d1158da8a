//! CHAT-6: stopping a reply.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{
    events::{EventStream, terminal, text},
    parlor::{Answer, COACH, Parlor, Setup},
};

impl Parlor {
    async fn stop(&self, user: i64, message: &Value) -> Answer {
        let path = format!("/api/xcx/chat/stream/{message}/stop");
        self.post(user, &path, &Value::Null).await
    }
}

#[track_caller]
fn is(answer: &Answer, status: u16, message: &Value, word: &str) {
    assert_eq!(answer.status, status, "{}", answer.body);
    assert_eq!(answer.body, json!({ "messageId": message, "status": word }));
}

#[tokio::test]
async fn any_instance_stops_a_reply_and_its_text_is_kept() {
    let parlor = Parlor::start().await;
    let other = Parlor::start_with(Setup {
        database: Some(parlor.database.clone()),
        ..Setup::default()
    })
    .await;
    let chat = parlor.open(COACH, "t").await;
    let (mut stream, mut events) = parlor
        .stream_held(COACH, chat, "[[sim:echo]]说到这里就够了，谢谢。", 3)
        .await;
    let message = events[0].data["messageId"].clone();
    let path = format!("/api/xcx/chat/stream/{message}");
    let reading = other.request_as(COACH, "GET", &path).send().await.unwrap();
    let mut reading = EventStream::new(reading);

    is(
        &other.stop(COACH, &message).await,
        202,
        &message,
        "stopping",
    );
    events.extend(stream.rest().await);
    let done = terminal(&events);
    assert_eq!(
        (&*done.name, &done.data["status"]),
        ("done", &json!("stopped"))
    );
    let read = reading.rest().await;
    assert_eq!(text(&read), text(&events));
    assert_eq!(read.last(), events.last());
    // The call to DashScope is cancelled, because its tokens would be charged.
    parlor.simulator.active(0).await;

    let stored = &parlor.messages(COACH, chat).await[1];
    assert_eq!(
        (&stored["status"], &stored["content"]),
        (&json!("stopped"), &json!(text(&events)))
    );
    let run = parlor.last_run().await;
    assert_eq!(
        (&run["status"], &run["alert_status"], &run["error_code"]),
        (&json!("stopped"), &Value::Null, &Value::Null)
    );
    let usage = parlor.usage(1).await;
    assert_eq!(
        (
            &usage["calls"],
            &usage["failures"],
            &usage["reserved_tokens"]
        ),
        (&json!(1), &json!(0), &json!(0))
    );
    for _ in 0..2 {
        is(&other.stop(COACH, &message).await, 200, &message, "stopped");
    }
    // The next message is accepted at once.
    parlor.simulator.release();
    parlor.send(COACH, chat, "接着").await.ok();
}

#[tokio::test]
async fn a_reply_is_stopped_before_its_first_token() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.simulator.hold_after(0);
    let mut stream = parlor.stream(COACH, chat, "你好").await;
    let start = stream.expect("start").await;
    let message = start.data["messageId"].clone();
    is(
        &parlor.stop(COACH, &message).await,
        202,
        &message,
        "stopping",
    );
    let done = stream.expect("done").await;
    assert_eq!(
        (&done.data["status"], &*done.id),
        (&json!("stopped"), &*format!("{message}-0"))
    );
    parlor.simulator.active(0).await;
    let stored = &parlor.messages(COACH, chat).await[1];
    assert_eq!(
        (&stored["status"], &stored["content"]),
        (&json!("stopped"), &json!(""))
    );
    // The call was made and may have cost tokens, so the reservation is charged.
    let run = parlor.last_run().await;
    assert_eq!(
        (&run["tokens_used"], &run["tokens_estimated"]),
        (&Value::Null, &json!(true))
    );
}

#[tokio::test]
async fn a_reply_without_a_stream_is_stopped() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let sending = parlor.send(COACH, chat, "[[sim:gate:2]]你好，说来话长");
    let stopping = async {
        parlor.simulator.held(1).await;
        let message = parlor.messages(COACH, chat).await[1]["id"].clone();
        is(
            &parlor.stop(COACH, &message).await,
            202,
            &message,
            "stopping",
        );
    };
    let (answer, ()) = tokio::join!(sending, stopping);
    let reply = &answer.ok()["aiReply"];
    assert_eq!(reply["status"], "stopped");
    assert_eq!(
        reply["content"],
        parlor.messages(COACH, chat).await[1]["content"]
    );
}

#[tokio::test]
async fn stopping_a_finished_reply_returns_its_state() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    for (scenario, status) in [
        ("echo", "complete"),
        ("unavailable", "failed"),
        ("fail-mid", "interrupted"),
    ] {
        let events = parlor
            .stream_to_end(COACH, chat, &format!("[[sim:{scenario}]]你好"))
            .await;
        let message = &events[0].data["messageId"];
        for _ in 0..2 {
            is(&parlor.stop(COACH, message).await, 200, message, status);
        }
    }
}

#[tokio::test]
async fn stopping_a_dead_reply_ends_it() {
    let parlor = Parlor::start().await;
    for (stored, status) in [("说到一半", "interrupted"), ("", "failed")] {
        let chat = parlor.open(COACH, status).await;
        let message = parlor.begin_and_die(COACH, chat, "你好", stored).await;
        is(&parlor.stop(COACH, &message).await, 200, &message, status);
    }
}

#[tokio::test]
async fn ten_concurrent_stops_end_a_reply_once() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.simulator.hold_after(1);
    let mut stream = parlor.stream(COACH, chat, "你好").await;
    let mut events = vec![stream.expect("start").await];
    let message = events[0].data["messageId"].clone();
    let stops = join_all((0..10).map(|_| parlor.stop(COACH, &message))).await;
    for answer in stops {
        assert!(
            matches!(answer.body["status"].as_str(), Some("stopping" | "stopped")),
            "{}",
            answer.body
        );
    }
    events.extend(stream.rest().await);
    assert_eq!(terminal(&events).data["status"], "stopped");
    assert_eq!(parlor.usage(1).await["calls"], 1);
}

#[tokio::test]
async fn a_stop_ignores_its_body() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let sent = parlor.send(COACH, chat, "你好").await;
    let message = &sent.ok()["aiReply"]["id"];
    let path = format!("/api/xcx/chat/stream/{message}/stop");
    for body in ["", "{", "nonsense"] {
        let request = parlor.request_as(COACH, "POST", &path).body(body);
        let answer = crate::harness::parlor::answer(request).await;
        is(&answer, 200, message, "complete");
    }
    let wrong = parlor.post(COACH, "/api/xcx/chat/stream/abc/stop", &Value::Null);
    assert_eq!(
        wrong.await.refused(422, "invalid_request")["field"],
        "messageId"
    );
}
