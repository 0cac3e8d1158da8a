//! Readers of a reply that is being made: at most three of a reply and five of a user.

use serde_json::{Value, json};

use crate::harness::{
    events::{EventStream, SseEvent, text},
    parlor::{COACH, Parlor, Setup},
};

const CONTENT: &str = "[[sim:echo]]很多人同时看这条回复";

impl Parlor {
    async fn reader(&self, message: &Value) -> EventStream {
        let mut reader = self.resume(COACH, message, "").await;
        reader.expect("start").await;
        reader
    }

    /// Begins a reply that pauses after its first piece. Returns its id and its stream.
    async fn begin_held(&self, context: &str) -> (Value, EventStream) {
        let chat = self.open(COACH, context).await;
        let (stream, events) = self.stream_held(COACH, chat, CONTENT, 1).await;
        (events[0].data["messageId"].clone(), stream)
    }
}

#[track_caller]
fn is_replaced(events: &[SseEvent]) {
    let end = events.last().unwrap();
    assert_eq!(
        (&*end.name, &end.data["code"], &end.data["retryable"]),
        ("error", &json!("replaced"), &json!(false))
    );
}

#[track_caller]
fn is_done(events: &[SseEvent]) {
    assert_eq!(events.last().unwrap().data["status"], "complete");
}

#[tokio::test]
async fn a_fourth_reader_of_a_reply_replaces_the_oldest_on_any_instance() {
    let parlor = Parlor::start().await;
    let other = Parlor::start_with(Setup {
        database: Some(parlor.database.clone()),
        ..Setup::default()
    })
    .await;
    let (message, mut stream) = parlor.begin_held("1").await;
    let mut oldest = parlor.reader(&message).await;
    let mut readers = Vec::new();
    for instance in [&other, &parlor, &other] {
        readers.push(instance.reader(&message).await);
    }
    is_replaced(&oldest.rest().await);
    parlor.simulator.release();
    for mut reader in readers {
        let events = reader.rest().await;
        is_done(&events);
        assert_eq!(text(&events), CONTENT);
    }
    // The stream of the sender is not a reader.
    assert_eq!(stream.rest().await.last().unwrap().name, "done");
}

#[tokio::test]
async fn a_sixth_reader_of_a_user_replaces_the_oldest_of_any_reply() {
    let parlor = Parlor::start().await;
    let (first, _first) = parlor.begin_held("1").await;
    let (second, _second) = parlor.begin_held("2").await;
    let mut oldest = parlor.reader(&first).await;
    let mut readers = Vec::new();
    for message in [&first, &first, &second, &second, &second] {
        readers.push(parlor.reader(message).await);
    }
    is_replaced(&oldest.rest().await);
    parlor.simulator.release();
    for mut reader in readers {
        is_done(&reader.rest().await);
    }
}

#[tokio::test]
async fn repeats_of_a_message_are_readers() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let body = json!({ "chatId": chat, "content": CONTENT, "clientMessageId": "m" });
    parlor.simulator.hold_after(1);
    let mut stream = parlor.stream_body(COACH, &body).await;
    stream.expect("start").await;
    let mut repeats = Vec::new();
    for _ in 0..4 {
        let mut repeat = parlor.stream_body(COACH, &body).await;
        repeat.expect("start").await;
        repeats.push(repeat);
    }
    is_replaced(&repeats.remove(0).rest().await);
    parlor.simulator.release();
    for mut repeat in repeats {
        is_done(&repeat.rest().await);
    }
    assert_eq!(parlor.simulator.calls_count(), 1);
}

#[tokio::test]
async fn readers_that_are_replaced_but_not_gone_are_limited() {
    let parlor = Parlor::start().await;
    let (message, _stream) = parlor.begin_held("1").await;
    let path = format!("/api/xcx/chat/stream/{message}");
    let mut readers = Vec::new();
    for _ in 0..10 {
        readers.push(parlor.reader(&message).await);
    }
    let refused = parlor.get(COACH, &path).await;
    assert_eq!(refused.refused(429, "rate_limited")["retryAfter"], 2);
    // The lease of a reader whose function was killed expires.
    parlor
        .execute("update biz.ai_reply_readers set lease_until = now() - interval '1 second'")
        .await;
    let mut reader = parlor.reader(&message).await;
    parlor.simulator.release();
    is_done(&reader.rest().await);
    // A reply that has ended may be read any number of times.
    for _ in 0..12 {
        is_done(&parlor.resume(COACH, &message, "").await.rest().await);
    }
}
