//! CHAT-4: a message with a streamed reply.

use common::dashscope::Timeouts;
use futures_util::FutureExt as _;
use serde_json::json;
use std::time::Duration;

use crate::{
    fairness::{coach, message},
    harness::{
        events::{terminal, text},
        invariants,
        parlor::{COACH, Parlor, Setup},
        until,
    },
};

#[tokio::test]
async fn a_reply_streams_token_by_token_and_is_stored_byte_for_byte() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let content = "[[sim:echo]]今天的营业额是多少？🎱 é\u{301}\u{200d}";
    let mut stream = parlor.stream(COACH, chat, content).await;
    assert_eq!(
        stream.header("content-type"),
        Some("text/event-stream; charset=utf-8")
    );
    assert_eq!(
        stream.header("cache-control"),
        Some("no-cache, no-transform")
    );
    assert_eq!(stream.header("x-accel-buffering"), Some("no"));
    assert_eq!(stream.header("connection"), None);

    let events = stream.rest().await;
    let done = terminal(&events);
    assert_eq!(done.name, "done");
    assert_eq!(done.data["status"], "complete");
    assert!(done.data["tokensUsed"].as_i64().unwrap() > 0);
    assert_eq!(done.data["createdAt"], events[0].data["createdAt"]);
    assert_eq!(events[0].data["chatId"], chat);

    let messages = parlor.messages(COACH, chat).await;
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[0]["id"], events[0].data["userMessageId"]);
    assert_eq!(messages[0]["content"], content);
    assert_eq!(messages[1]["id"], events[0].data["messageId"]);
    assert_eq!(messages[1]["status"], "complete");
    assert_eq!(messages[1]["content"], text(&events));
    assert_eq!(messages[1]["content"], content);
}

#[tokio::test]
async fn the_start_event_is_sent_before_the_first_token() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let mut stream = parlor.stream(COACH, chat, "[[sim:hang]]").await;
    stream.expect("start").await;
    assert_eq!(parlor.messages(COACH, chat).await[1]["status"], "streaming");
}

#[tokio::test]
async fn each_token_is_sent_without_waiting_for_the_next() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.simulator.hold_after(1);
    let mut stream = parlor
        .stream(COACH, chat, "[[sim:echo]]一二三四五六七八九十")
        .await;
    stream.expect("start").await;
    stream.expect("message").await;
    parlor.simulator.release();
    assert_eq!(terminal_name(&stream.rest().await), "done");
}

fn terminal_name(events: &[crate::harness::events::SseEvent]) -> &str {
    &events.last().unwrap().name
}

#[tokio::test]
async fn a_disconnect_does_not_affect_the_reply() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.simulator.hold_after(2);
    let mut stream = parlor
        .stream(COACH, chat, "[[sim:echo]]客户端离开之后，回复仍然完整。")
        .await;
    stream.expect("start").await;
    stream.expect("message").await;
    drop(stream);
    parlor.simulator.release();
    parlor.settled().await;
    let messages = parlor.messages(COACH, chat).await;
    assert_eq!(messages[1]["status"], "complete");
    assert_eq!(messages[1]["content"], messages[0]["content"]);
}

#[tokio::test]
async fn a_disconnect_before_the_start_does_not_affect_the_reply() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let caller = coach();
    let sending = parlor
        .tools
        .replies
        .send(&caller, message(chat, "[[sim:echo]]你好"), None, None);
    // A server polls the request of a client that disconnects, and then drops it.
    assert!(sending.now_or_never().is_none());
    until("the reply is complete", async || {
        let messages = parlor.messages(COACH, chat).await;
        (messages.get(1)?["status"] == "complete").then_some(())
    })
    .await;
    invariants::check(&parlor, COACH, chat).await;
}

#[tokio::test]
async fn a_slow_client_receives_every_character() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    // Far more text than the sockets and the queue of a slow client hold.
    let stream = parlor.stream(COACH, chat, "[[sim:huge]]").await;
    parlor.settled().await;
    let mut stream = stream;
    let events = stream.rest().await;
    assert_eq!(terminal(&events).name, "done");
    assert_eq!(
        parlor.messages(COACH, chat).await[1]["content"],
        text(&events)
    );
}

#[tokio::test]
async fn with_ascii_every_byte_is_ascii_and_the_text_is_the_same() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let body = json!({ "chatId": chat, "content": "[[sim:echo]]台球 🎱 好" });
    let request = parlor
        .request_as(COACH, "POST", "/api/xcx/chat/stream?ascii=1")
        .json(&body);
    let mut stream = crate::harness::events::EventStream::new(request.send().await.unwrap());
    let events = stream.rest().await;
    assert!(stream.bytes.is_ascii());
    assert_eq!(terminal(&events).name, "done");
    assert_eq!(text(&events), body["content"].as_str().unwrap());
}

#[tokio::test]
async fn an_error_before_the_first_event_is_plain_json() {
    let parlor = Parlor::start().await;
    let refused = parlor
        .post(
            COACH,
            "/api/xcx/chat/stream",
            &json!({ "chatId": 4_711, "content": "在吗" }),
        )
        .await;
    refused.refused(404, "not_found");
    assert_eq!(refused.headers["content-type"], "application/json");
}

#[tokio::test]
async fn a_failure_before_text_gives_a_failed_reply_and_an_error_event() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let events = parlor
        .stream_to_end(COACH, chat, "[[sim:fail-first]]你好")
        .await;
    let error = terminal(&events);
    assert_eq!(error.name, "error");
    assert_eq!(error.data["code"], "upstream_error");
    assert_eq!(error.data["retryable"], true);
    assert_eq!(error.data["message"], "AI 服务暂时不可用");
    let messages = parlor.messages(COACH, chat).await;
    assert_eq!(
        (&messages[1]["status"], &messages[1]["content"]),
        (&json!("failed"), &json!(""))
    );
    let run = parlor.last_run().await;
    assert_eq!(
        (&run["status"], &run["alert_status"]),
        (&json!("failed"), &json!("pending"))
    );
    assert!(run["error_message"].is_string());
}

#[tokio::test]
async fn a_failure_midway_keeps_the_text() {
    for scenario in ["fail-mid", "cut", "no-stop"] {
        let parlor = Parlor::start().await;
        let chat = parlor.open(COACH, "t").await;
        let events = parlor
            .stream_to_end(
                COACH,
                chat,
                &format!("[[sim:{scenario}]]说说本月的会员情况"),
            )
            .await;
        assert_eq!(terminal(&events).name, "error", "{scenario}");
        let sent = text(&events);
        assert!(!sent.is_empty(), "{scenario}");
        let messages = parlor.messages(COACH, chat).await;
        assert_eq!(messages[1]["status"], "interrupted", "{scenario}");
        assert_eq!(messages[1]["content"], sent, "{scenario}");
        assert_eq!(parlor.last_run().await["status"], "failed", "{scenario}");
        // There is no retry after the first token, because the text would repeat.
        assert_eq!(parlor.simulator.calls_count(), 1, "{scenario}");
    }
}

#[tokio::test]
async fn a_silent_dashscope_is_a_timeout() {
    let timeouts = Timeouts {
        first_token: Duration::from_millis(200),
        ..Timeouts::default()
    };
    let parlor = Parlor::start_with(Setup {
        timeouts,
        ..Setup::default()
    })
    .await;
    let chat = parlor.open(COACH, "t").await;
    let events = parlor.stream_to_end(COACH, chat, "[[sim:hang]]").await;
    assert_eq!(terminal(&events).data["code"], "upstream_timeout");
    assert_eq!(parlor.last_run().await["status"], "timeout");
    assert_eq!(parlor.messages(COACH, chat).await[1]["status"], "failed");
}

#[tokio::test]
async fn an_unconfigured_chat_is_unavailable() {
    let parlor = Parlor::start_with(Setup {
        app_ids: vec![],
        ..Setup::default()
    })
    .await;
    let chat = parlor.open(COACH, "t").await;
    let body = json!({ "chatId": chat, "content": "你好" });
    let refused = parlor.post(COACH, "/api/xcx/chat/stream", &body).await;
    refused.refused(503, "unavailable");
    assert_eq!(parlor.simulator.calls_count(), 0);
}

#[tokio::test]
async fn a_nul_character_is_removed_from_stream_and_storage() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let events = parlor.stream_to_end(COACH, chat, "[[sim:empty]]你好").await;
    assert_eq!(terminal(&events).name, "error");
    assert_eq!(parlor.messages(COACH, chat).await[1]["status"], "failed");
}

#[tokio::test]
async fn text_is_stored_during_the_stream() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.simulator.hold_after(3);
    let mut stream = parlor
        .stream(
            COACH,
            chat,
            "[[sim:echo]]检查点会把说过的话存下来，不怕中断。",
        )
        .await;
    stream.expect("start").await;
    let stored = until("a checkpoint", async || {
        let content = parlor.messages(COACH, chat).await[1]["content"]
            .as_str()
            .unwrap()
            .to_owned();
        (!content.is_empty()).then_some(content)
    })
    .await;
    parlor.simulator.release();
    let events = stream.rest().await;
    assert!(text(&events).starts_with(&stored));
    assert_eq!(
        parlor.messages(COACH, chat).await[1]["content"],
        text(&events)
    );
}

#[tokio::test]
async fn a_silent_stream_sends_a_comment_every_ten_seconds() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let mut stream = parlor
        .stream(COACH, chat, "[[sim:gate:2]]你好，请讲讲今天的安排")
        .await;
    stream.expect("start").await;
    stream.expect("message").await;
    tokio::join!(stream.rest(), async {
        tokio::time::sleep(Duration::from_secs(11)).await;
        parlor.simulator.release();
    });
    assert_eq!(stream.comments, ["ping"]);
}

#[tokio::test]
async fn a_streamed_conversation_continues_its_session_and_counts_reported_tokens() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let first = parlor.stream_to_end(COACH, chat, "第一问").await;
    let run = parlor.last_run().await;
    assert_eq!(run["tokens_used"], terminal(&first).data["tokensUsed"]);
    assert_eq!(run["tokens_estimated"], false);
    parlor.stream_to_end(COACH, chat, "第二问").await;
    let calls = parlor.simulator.calls();
    // Within a session, only the new message is sent. The history would be paid for twice.
    assert_eq!((calls[1].prompt(), calls.len()), ("第二问", 2));
    assert_eq!(calls[1].session_id(), run["session_id"].as_str());
    let silent = parlor
        .stream_to_end(COACH, chat, "[[sim:no-usage]]第三问")
        .await;
    assert_eq!(terminal(&silent).data["tokensUsed"], json!(null));
    assert_eq!(parlor.last_run().await["tokens_used"], json!(null));
}
