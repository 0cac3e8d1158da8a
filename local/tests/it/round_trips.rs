//! The number of database round trips, counted on the wire.

use crate::harness::{
    parlor::{COACH, Parlor, Setup},
    until,
    wire::Wire,
};

/// Parlor behind a counting [`Wire`], with prepared statements and a cached caller.
async fn warm() -> (Parlor, Wire, i64) {
    let (parlor, wire) = Parlor::wired(Setup::default()).await;
    let chat = parlor.open(COACH, "t").await;
    for _ in 0..2 {
        parlor.send(COACH, chat, "你好").await.ok();
        parlor.stream_to_end(COACH, chat, "你好").await;
    }
    parlor.get(COACH, "/api/xcx/chat/history").await.ok();
    (parlor, wire, chat)
}

/// The round trips of one step on a warm connection. A new connection of the pool must first
/// prepare its statements, so the least of a few tries counts.
async fn least(wire: &Wire, mut step: impl AsyncFnMut()) -> usize {
    let mut least = usize::MAX;
    for _ in 0..5 {
        let before = wire.round_trips();
        step().await;
        least = least.min(wire.round_trips() - before);
    }
    least
}

#[tokio::test]
async fn a_streamed_message_is_one_round_trip_before_and_one_after_the_ai() {
    let (parlor, wire, chat) = warm().await;
    let mut before = usize::MAX;
    let mut after = usize::MAX;
    for _ in 0..5 {
        parlor.simulator.hold_after(0);
        let (trips, calls) = (wire.round_trips(), parlor.simulator.calls_count());
        let mut stream = parlor.stream(COACH, chat, "你好").await;
        stream.expect("start").await;
        parlor.simulator.called(calls + 1).await;
        before = before.min(wire.round_trips() - trips);
        let trips = wire.round_trips();
        parlor.simulator.release();
        assert_eq!(stream.rest().await.last().unwrap().name, "done");
        after = after.min(wire.round_trips() - trips);
    }
    assert_eq!((before, after), (1, 1));
}

#[tokio::test]
async fn a_whole_reply_is_one_round_trip_before_and_one_after_the_ai() {
    let (parlor, wire, chat) = warm().await;
    let mut before = usize::MAX;
    let mut after = usize::MAX;
    for _ in 0..5 {
        parlor.simulator.hold_after(0);
        let (start, calls) = (wire.round_trips(), parlor.simulator.calls_count());
        let asked = async {
            parlor.simulator.called(calls + 1).await;
            let asked = wire.round_trips();
            parlor.simulator.release();
            asked
        };
        let (answer, asked) = tokio::join!(parlor.send(COACH, chat, "你好"), asked);
        answer.ok();
        before = before.min(asked - start);
        after = after.min(wire.round_trips() - asked);
    }
    assert_eq!((before, after), (1, 1));
}

#[tokio::test]
async fn a_checkpoint_is_one_round_trip() {
    let (parlor, wire, chat) = warm().await;
    let (mut stream, _) = parlor
        .stream_held(COACH, chat, "[[sim:echo]]慢慢说", 1)
        .await;
    let lease = async || -> Option<chrono::DateTime<chrono::Utc>> {
        sqlx::query_scalar("select lease_until from biz.ai_messages where state = 'streaming'")
            .fetch_one(&parlor.db)
            .await
            .unwrap()
    };
    let mut last = lease().await;
    let mut next_checkpoint = async || {
        last = until("the next checkpoint", async || {
            Some(lease().await).filter(|next| *next != last)
        })
        .await;
    };
    next_checkpoint().await;
    let trips = least(&wire, next_checkpoint).await;
    assert_eq!(trips, 1);
    parlor.simulator.release();
    assert_eq!(stream.rest().await.last().unwrap().name, "done");
}

#[tokio::test]
async fn each_page_of_any_length_is_one_round_trip() {
    let (parlor, wire, chat) = warm().await;
    for context in ["a", "b", "c"] {
        let other = parlor.open(COACH, context).await;
        parlor.send(COACH, other, "你好").await.ok();
    }
    for path in [
        "/api/xcx/chat/history".to_owned(),
        "/api/xcx/chat/history?page=2&page_size=2".to_owned(),
        format!("/api/xcx/chat/{chat}/messages"),
        format!("/api/xcx/chat/{chat}/messages?order=desc"),
    ] {
        let trips = least(&wire, async || _ = parlor.get(COACH, &path).await.ok()).await;
        assert_eq!(trips, 1, "{path}");
    }
    let path = "/api/xcx/chat/messages?contextType=task&contextId=t";
    let trips = least(&wire, async || _ = parlor.get(COACH, path).await.ok()).await;
    assert_eq!(trips, 2, "find the conversation, then its page");
}
