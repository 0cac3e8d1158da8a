//! The database goes away: cut off, fallen silent, or losing what was said.

use std::time::Duration;

use common::{
    chat::replies::{Event, Failure, State},
    governance::auth::{Caller, Role},
};
use serde_json::json;
use sqlx::Executor as _;
use tokio::time::{Instant, timeout};

use crate::{
    fairness::message,
    harness::{
        events::{EventStream, SseEvent, terminal, text},
        invariants,
        parlor::{Answer, COACH, Parlor, Setup, answer},
        routes::{self, SITE_ADMIN},
        until, until_within,
        wire::Wire,
    },
};

async fn wired() -> (Parlor, Wire) {
    Parlor::wired(Setup::default()).await
}

/// Asks, and gives up after ten seconds; the spec's three are for people to look at.
async fn in_time(route: &routes::Route, parlor: &Parlor, user: i64) -> Answer {
    let began = Instant::now();
    let request = route.request_as(user, parlor);
    let answer = timeout(Duration::from_secs(10), answer(request))
        .await
        .unwrap();
    #[expect(clippy::print_stdout, reason = "a time is shown, not asserted")]
    {
        println!(
            "{} {}: {} after {:?}",
            route.method,
            route.template,
            answer.status,
            began.elapsed()
        );
    }
    answer
}

async fn every_route_says_so_and_recovers(go: fn(&Wire)) {
    let (parlor, wire) = wired().await;
    // The path of the examples is this user's.
    assert_eq!(parlor.open(COACH, "7").await, 1);
    parlor.get(SITE_ADMIN, "/api/xcx/chat/history").await.ok();
    // Every connection that the pool may have is there, idle, to be fooled by.
    let all = futures_util::future::join_all((0..8).map(|_| parlor.tools.db.acquire())).await;
    drop(all);
    go(&wire);
    for route in routes::all() {
        // One whose approval is remembered, and one who has to be looked up.
        for user in route.users() {
            let refused = in_time(&route, &parlor, user).await;
            refused.refused_at(&route.path, 503, "unavailable");
            assert_eq!(refused.headers["retry-after"], "1", "{route:?}");
        }
    }
    assert_eq!(parlor.simulator.calls_count(), 0);
    wire.restore();
    for route in routes::all() {
        let limit = Duration::from_secs(30);
        until_within(limit, "the same process answers again", async || {
            let request = route.request_as(route.user(), &parlor);
            let answered = request.send().await.unwrap();
            (answered.status() != 503).then_some(())
        })
        .await;
        parlor.settled().await;
    }
}

#[tokio::test]
async fn an_unreachable_database_is_a_503_on_every_route() {
    every_route_says_so_and_recovers(Wire::go_down).await;
}

#[tokio::test]
async fn a_silent_database_is_a_503_on_every_route() {
    every_route_says_so_and_recovers(Wire::stop_forwarding).await;
}

/// A stream that has said a little and is held there.
async fn half_said(parlor: &Parlor, content: &str) -> (i64, EventStream, Vec<SseEvent>) {
    let chat = parlor.open(COACH, "t").await;
    let content = format!("[[sim:echo]]{content}");
    let (stream, events) = parlor.stream_held(COACH, chat, &content, 2).await;
    (chat, stream, events)
}

/// Reads to the end: it must be whole, and what was said must be what is stored.
async fn ends_whole(
    parlor: &Parlor,
    chat: i64,
    mut stream: EventStream,
    mut events: Vec<SseEvent>,
) {
    events.extend(
        timeout(Duration::from_secs(60), stream.rest())
            .await
            .unwrap(),
    );
    let end = terminal(&events);
    assert_eq!(
        (&*end.name, &end.data["status"]),
        ("done", &"complete".into())
    );
    let messages = parlor.messages(COACH, chat).await;
    assert_eq!(messages[1]["content"], messages[0]["content"]);
    assert_eq!(messages[1]["content"], text(&events));
    assert_eq!(messages[1]["status"], "complete");
}

async fn stored(parlor: &Parlor) -> String {
    sqlx::query_scalar(
        "select content from biz.ai_messages where role = 'assistant' order by id desc limit 1",
    )
    .fetch_one(&parlor.db)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_short_outage_during_a_stream_loses_no_text() {
    for go in [Wire::go_down, Wire::stop_forwarding] {
        let (parlor, wire) = wired().await;
        let (chat, stream, events) = half_said(&parlor, "数据库断开又恢复，一个字也不能少。").await;
        go(&wire);
        parlor.simulator.release();
        // All is said, and nothing of it can be stored.
        parlor.simulator.active(0).await;
        assert_eq!(stored(&parlor).await, "");
        wire.restore();
        ends_whole(&parlor, chat, stream, events).await;
    }
}

#[tokio::test]
async fn a_lasting_outage_ends_a_stream_with_one_error() {
    let (parlor, wire) = wired().await;
    let chat = parlor.open(COACH, "t").await;
    let caller = Caller {
        site_id: 1,
        user_id: COACH,
        nickname: "阿杰".to_owned(),
        role: Role::Coach,
    };
    parlor.simulator.hold_after(2);
    let killed_at = Instant::now() + Duration::from_secs(12);
    let replies = parlor.tools.replies.clone();
    let (_, mut watch) = replies
        .send(
            &caller,
            message(chat, "[[sim:echo]]再也存不下来的话"),
            Some(killed_at),
            None,
        )
        .await
        .unwrap();
    wire.go_down();
    parlor.simulator.release();
    let mut ends = Vec::new();
    while let Some(event) = timeout(Duration::from_secs(30), watch.next())
        .await
        .unwrap()
    {
        if !matches!(event, Event::Text(_)) {
            ends.push(event);
        }
    }
    assert!(
        Instant::now() < killed_at,
        "the end is told before the function is killed"
    );
    let end = Event::Broken {
        state: State::Interrupted,
        failure: Failure::Unavailable,
    };
    assert_eq!(ends, [end]);
    // It stays to be taken over: nobody said that it had ended.
    wire.restore();
    assert_eq!(parlor.messages(COACH, chat).await[1]["status"], "streaming");
}

#[tokio::test]
async fn a_checkpoint_with_a_lost_response_does_not_duplicate_text() {
    let (parlor, wire) = wired().await;
    let (chat, stream, events) = half_said(&parlor, "检查点存下了，回答却丢了。").await;
    wire.drop_responses();
    until("the checkpoint is stored all the same", async || {
        (!stored(&parlor).await.is_empty()).then_some(())
    })
    .await;
    parlor.simulator.release();
    ends_whole(&parlor, chat, stream, events).await;
}

#[tokio::test]
async fn an_end_with_a_lost_response_is_stored_once() {
    let (parlor, wire) = wired().await;
    let (chat, stream, events) = half_said(&parlor, "结尾存下了，回答却丢了。").await;
    wire.drop_responses();
    parlor.simulator.release();
    ends_whole(&parlor, chat, stream, events).await;
    let usage = parlor.usage(1).await;
    assert_eq!(
        (&usage["calls"], &usage["reserved_tokens"]),
        (&1.into(), &0.into())
    );
}

/// A stream of which a checkpoint is on its way, and stays there.
async fn late_checkpoint(
    parlor: &Parlor,
    wire: &Wire,
    content: &str,
) -> (i64, EventStream, Vec<SseEvent>) {
    let (chat, mut stream, mut events) = half_said(parlor, content).await;
    until("a checkpoint", async || {
        (!stored(parlor).await.is_empty()).then_some(())
    })
    .await;
    parlor.simulator.hold_after(4);
    for _ in 0..2 {
        events.push(stream.expect("message").await);
    }
    wire.delay_requests();
    until("a checkpoint is on its way", async || {
        (wire.delayed() > 0).then_some(())
    })
    .await;
    (chat, stream, events)
}

#[tokio::test]
async fn a_late_checkpoint_does_not_shorten_the_text() {
    // Of a single connection the statement is prepared, so that all of it is on its way.
    let (parlor, wire) = Parlor::wired(Setup {
        max_connections: 1,
        ..Setup::default()
    })
    .await;
    let content = "迟到的检查点不能把后来存下的话再拿走，一个字也不行。";
    let (chat, mut stream, mut events) = late_checkpoint(&parlor, &wire, content).await;
    // More is said, and stored by another connection, while the first still waits.
    parlor.simulator.hold_after(6);
    for _ in 0..2 {
        events.push(stream.expect("message").await);
    }
    let said = text(&events);
    // The silent connection has to be found out first.
    let limit = Duration::from_secs(30);
    until_within(limit, "all that was said is stored", async || {
        (stored(&parlor).await == said).then_some(())
    })
    .await;
    wire.deliver();
    until("the late one is done", async || {
        (wire.late_responses() > 0).then_some(())
    })
    .await;
    assert_eq!(stored(&parlor).await, said);
    parlor.simulator.release();
    ends_whole(&parlor, chat, stream, events).await;
}

#[tokio::test]
async fn a_checkpoint_after_the_end_changes_nothing() {
    let (parlor, wire) = Parlor::wired(Setup {
        max_connections: 1,
        ..Setup::default()
    })
    .await;
    let content = "结尾已经存下，检查点才到。";
    let (chat, stream, events) = late_checkpoint(&parlor, &wire, content).await;
    parlor.simulator.release();
    // The end goes by another connection.
    ends_whole(&parlor, chat, stream, events).await;
    let before = parlor.messages(COACH, chat).await;
    wire.deliver();
    until("the late one is done", async || {
        (wire.late_responses() > 0).then_some(())
    })
    .await;
    assert_eq!(parlor.messages(COACH, chat).await, before);
    invariants::check(&parlor, COACH, chat).await;
}

#[tokio::test]
async fn a_message_that_times_out_on_a_lock_is_not_stored() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let mut other = parlor.db.acquire().await.unwrap();
    other
        .execute("begin; select from biz.sites where id = 1 for update")
        .await
        .unwrap();
    let path = format!("/api/xcx/chat/{chat}/messages");
    let body = json!({ "content": "你好", "clientMessageId": "c" });
    parlor
        .post(COACH, &path, &body)
        .await
        .refused(503, "unavailable");
    other.execute("rollback").await.unwrap();
    // The same message, sent again as a client does.
    until("it is answered", async || {
        let answer = parlor.post(COACH, &path, &body).await;
        (answer.status == 200).then_some(())
    })
    .await;
    assert_eq!(parlor.messages(COACH, chat).await.len(), 2);
    let usage = parlor.usage(1).await;
    assert_eq!(
        (&usage["calls"], &usage["reserved_tokens"]),
        (&json!(1), &json!(0))
    );
}
