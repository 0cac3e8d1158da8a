//! Database outages: connections cut or blocked, and lost responses.

use std::{sync::Arc, time::Duration};

use common::{
    chat::replies::{Event, Failure, State},
    governance::auth::{Caller, Role},
};
use futures_util::{StreamExt as _, stream};
use serde_json::json;
use sqlx::Executor as _;
use tokio::time::{Instant, timeout};

use crate::{
    fairness::message,
    harness::{
        database::OwnServer,
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

/// Sends a request with a limit of ten seconds. The documented three seconds are printed, not
/// asserted.
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

async fn every_route_returns_503_and_recovers(go: fn(&Wire)) {
    let (parlor, wire) = wired().await;
    // The paths of the example requests name this user's conversation 1.
    assert_eq!(parlor.open(COACH, "7").await, 1);
    parlor.get(SITE_ADMIN, "/api/xcx/chat/history").await.ok();
    // The pool has all its connections, idle, so that each must be found to be dead.
    let all = futures_util::future::join_all((0..8).map(|_| parlor.tools.db.acquire())).await;
    drop(all);
    go(&wire);
    let all = routes::all();
    // The approval of one user is cached. The other one must be looked up.
    let calls = all
        .iter()
        .flat_map(|route| route.users().into_iter().map(move |user| (route, user)));
    // Eight at once, because each waits for its time limit.
    stream::iter(calls)
        .for_each_concurrent(8, async |(route, user)| {
            let refused = in_time(route, &parlor, user).await;
            refused.refused_at(&route.path, 503, "unavailable");
            assert_eq!(refused.headers["retry-after"], "1", "{route:?}");
        })
        .await;
    assert_eq!(parlor.simulator.calls_count(), 0);
    wire.restore();
    for route in routes::all() {
        let limit = Duration::from_secs(30);
        until_within(limit, "the same process recovers", async || {
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
    every_route_returns_503_and_recovers(Wire::go_down).await;
}

#[tokio::test]
async fn a_silent_database_is_a_503_on_every_route() {
    every_route_returns_503_and_recovers(Wire::stop_forwarding).await;
}

#[tokio::test]
async fn a_message_that_a_frozen_database_reads_too_late_is_not_stored() {
    let server = OwnServer::start().await;
    let parlor = Parlor::start_with(Setup {
        database: Some(Arc::new(server.database().await)),
        max_connections: 1,
        ..Setup::default()
    })
    .await;
    let chat = parlor.open(COACH, "t").await;
    let session = parlor.begin_session(COACH).await;
    // The connection has prepared both statements, so the frozen server gets them as a whole.
    parlor.send(COACH, chat, "你好").await.ok();
    parlor.create_message(COACH, &session, "你好").await;
    parlor.work().await;
    let usage = parlor.usage(1).await;
    let paths = [
        format!("/api/xcx/chat/{chat}/messages"),
        format!("/api/chat/sessions/{session}/messages"),
    ];
    for path in &paths {
        server.freeze();
        let answer = parlor
            .post(COACH, path, &json!({ "content": "在吗" }))
            .await;
        server.thaw();
        answer.refused_at(path, 503, "unavailable");
        // This request gets the connection when the late statement has ended.
        until("the database responds", async || {
            let history = parlor.get(COACH, "/api/xcx/chat/history").await;
            (history.status == 200).then_some(())
        })
        .await;
        assert_eq!(parlor.messages(COACH, chat).await.len(), 2, "{path}");
        assert_eq!(parlor.messages_of(COACH, &session).await.len(), 2, "{path}");
    }
    assert_eq!(parlor.work().await.claimed, 0);
    assert_eq!(parlor.usage(1).await, usage);
    // Nothing is busy.
    parlor.send(COACH, chat, "在吗").await.ok();
    parlor.create_message(COACH, &session, "在吗").await;
    assert_eq!(parlor.work().await.succeeded, 1);
}

/// A stream that is paused after two pieces of text.
async fn paused_stream(parlor: &Parlor, content: &str) -> (i64, EventStream, Vec<SseEvent>) {
    let chat = parlor.open(COACH, "t").await;
    // At the end, because a reply that begins with a repetition, such as `[[`, may come later.
    let content = format!("{content}[[sim:echo]]");
    let (stream, events) = parlor.stream_held(COACH, chat, &content, 2).await;
    (chat, stream, events)
}

/// Reads to the end. The stream must be complete and equal to the stored text.
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
        "select reply_text(m) from biz.ai_messages m where role = 'assistant' order by id desc limit 1",
    )
    .fetch_one(&parlor.db)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_short_outage_during_a_stream_loses_no_text() {
    for go in [Wire::go_down, Wire::stop_forwarding] {
        let (parlor, wire) = wired().await;
        let (chat, stream, events) =
            paused_stream(&parlor, "数据库断开又恢复，一个字也不能少。").await;
        go(&wire);
        parlor.simulator.release();
        // All text has been sent to the client, and none of it can be stored.
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
        "the stream ends before the function is killed"
    );
    let end = Event::Broken {
        state: State::Interrupted,
        failure: Failure::Unavailable,
    };
    assert_eq!(ends, [end]);
    // The reply is still running in the database, because its end could not be stored.
    wire.restore();
    assert_eq!(parlor.messages(COACH, chat).await[1]["status"], "streaming");
}

#[tokio::test]
async fn a_checkpoint_with_a_lost_response_does_not_duplicate_text() {
    let (parlor, wire) = wired().await;
    let (chat, stream, events) = paused_stream(&parlor, "检查点存下了，回答却丢了。").await;
    wire.drop_responses();
    until("the checkpoint is stored", async || {
        (!stored(&parlor).await.is_empty()).then_some(())
    })
    .await;
    parlor.simulator.release();
    ends_whole(&parlor, chat, stream, events).await;
}

#[tokio::test]
async fn a_checkpoint_with_a_lost_response_is_repeated_with_more_text() {
    let (parlor, wire) = wired().await;
    let (chat, mut stream, mut events) =
        paused_stream(&parlor, "同一个位置再存一次，多了几个字。").await;
    wire.drop_responses_to(&text(&events));
    until("the checkpoint is stored", async || {
        (!stored(&parlor).await.is_empty()).then_some(())
    })
    .await;
    wire.clear_rules();
    parlor.simulator.hold_after(4);
    for _ in 0..2 {
        events.push(stream.expect("message").await);
    }
    until("the rest is stored, too", async || {
        (stored(&parlor).await == text(&events)).then_some(())
    })
    .await;
    assert_eq!(parlor.segments().await, 1);
    parlor.simulator.release();
    ends_whole(&parlor, chat, stream, events).await;
    assert_eq!(parlor.segments().await, 0);
}

#[tokio::test]
async fn an_end_with_a_lost_response_is_stored_once() {
    let (parlor, wire) = wired().await;
    let (chat, stream, events) = paused_stream(&parlor, "结尾存下了，回答却丢了。").await;
    wire.drop_responses();
    parlor.simulator.release();
    ends_whole(&parlor, chat, stream, events).await;
    let usage = parlor.usage(1).await;
    assert_eq!(
        (&usage["calls"], &usage["reserved_tokens"]),
        (&1.into(), &0.into())
    );
}

/// A stream with a checkpoint that the wire delays.
async fn late_checkpoint(
    parlor: &Parlor,
    wire: &Wire,
    content: &str,
) -> (i64, EventStream, Vec<SseEvent>) {
    let (chat, mut stream, mut events) = paused_stream(parlor, content).await;
    until("a checkpoint", async || {
        (!stored(parlor).await.is_empty()).then_some(())
    })
    .await;
    parlor.simulator.hold_after(4);
    for _ in 0..2 {
        events.push(stream.expect("message").await);
    }
    wire.delay_requests();
    until("a checkpoint is delayed", async || {
        (wire.delayed() > 0).then_some(())
    })
    .await;
    (chat, stream, events)
}

#[tokio::test]
async fn a_late_checkpoint_does_not_shorten_the_text() {
    // With a single connection, the statement is prepared already, so that the whole checkpoint is
    // delayed.
    let (parlor, wire) = Parlor::wired(Setup {
        max_connections: 1,
        ..Setup::default()
    })
    .await;
    let content = "迟到的检查点不能把后来存下的话再拿走，一个字也不行。";
    let (chat, mut stream, mut events) = late_checkpoint(&parlor, &wire, content).await;
    // More text is stored through another connection, while the first checkpoint is delayed.
    parlor.simulator.hold_after(6);
    for _ in 0..2 {
        events.push(stream.expect("message").await);
    }
    let sent = text(&events);
    // The blocked connection must time out first.
    let limit = Duration::from_secs(30);
    until_within(limit, "all text is stored", async || {
        (stored(&parlor).await == sent).then_some(())
    })
    .await;
    wire.deliver();
    until("the delayed statement is executed", async || {
        (wire.late_responses() > 0).then_some(())
    })
    .await;
    assert_eq!(stored(&parlor).await, sent);
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
    // The end is stored through another connection.
    ends_whole(&parlor, chat, stream, events).await;
    let before = parlor.messages(COACH, chat).await;
    wire.deliver();
    until("the delayed statement is executed", async || {
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
    // A client sends the same message again.
    until("the message has a reply", async || {
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
