//! The message after a reply that did not end well is sent with the stored history.
//!
//! It is unknown what DashScope kept of an unfinished turn, so its session is not used again.

use serde_json::Value;

use crate::harness::{
    invariants,
    parlor::{COACH, Parlor},
};

/// Asserts that the newest call has no session, and that its prompt has the stored text.
#[track_caller]
fn assert_sent_with_history(parlor: &Parlor, stored: &str) {
    let calls = parlor.simulator.calls();
    let last = calls.last().unwrap();
    assert_eq!(last.session_id(), None);
    let line = format!("AI: {}\n", stored.replace('\n', "\n  "));
    assert!(last.prompt().contains(&line), "{}", last.prompt());
}

/// A conversation with a DashScope session.
async fn conversation_with_session(parlor: &Parlor) -> i64 {
    let chat = parlor.open(COACH, "t").await;
    parlor.stream_to_end(COACH, chat, "第一问").await;
    parlor.stream_to_end(COACH, chat, "第二问").await;
    let calls = parlor.simulator.calls();
    assert!(calls[1].session_id().is_some());
    chat
}

async fn newest_reply(parlor: &Parlor, chat: i64) -> String {
    let messages = parlor.messages(COACH, chat).await;
    let reply = messages.iter().rfind(|m| m["role"] == "assistant").unwrap();
    reply["content"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn message_after_stopped_reply_has_the_history() {
    let parlor = Parlor::start().await;
    let chat = conversation_with_session(&parlor).await;
    let question = "[[sim:echo]]说到这里就够了，谢谢。";
    let (mut stream, events) = parlor.stream_held(COACH, chat, question, 3).await;
    let message = &events[0].data["messageId"];
    let path = format!("/api/xcx/chat/stream/{message}/stop");
    parlor.post(COACH, &path, &Value::Null).await;
    stream.rest().await;
    parlor.simulator.release();
    let stored = newest_reply(&parlor, chat).await;
    assert!(!stored.is_empty());

    parlor.stream_to_end(COACH, chat, "继续").await;
    assert_sent_with_history(&parlor, &stored);
    // The reply is complete, so its session is used.
    parlor.stream_to_end(COACH, chat, "再说").await;
    let calls = parlor.simulator.calls();
    assert!(
        calls.last().unwrap().session_id().is_some(),
        "{:?}",
        parlor.messages(COACH, chat).await
    );
}

#[tokio::test]
async fn message_after_interrupted_reply_has_the_history() {
    let parlor = Parlor::start().await;
    let chat = conversation_with_session(&parlor).await;
    parlor
        .stream_to_end(COACH, chat, "[[sim:fail-mid]]第三问")
        .await;
    let stored = newest_reply(&parlor, chat).await;
    assert!(!stored.is_empty());

    parlor.stream_to_end(COACH, chat, "继续").await;
    assert_sent_with_history(&parlor, &stored);
    invariants::check(&parlor, COACH, chat).await;
}

#[tokio::test]
async fn message_after_killed_function_has_the_history() {
    let parlor = Parlor::start().await;
    let chat = conversation_with_session(&parlor).await;
    parlor
        .begin_and_die(COACH, chat, "第三问", "说到一半")
        .await;

    parlor.stream_to_end(COACH, chat, "继续").await;
    assert_sent_with_history(&parlor, "说到一半");
}

#[tokio::test]
async fn message_to_bot_after_failed_try_has_the_history() {
    let parlor = Parlor::start().await;
    let session = parlor.begin_session(COACH).await;
    parlor.create_message(COACH, &session, "第一句").await;
    parlor.work().await;
    let scenario = Some("fail-mid".parse().unwrap());
    parlor.simulator.set_scenario(None, scenario);
    parlor.create_message(COACH, &session, "第二句").await;
    parlor.work_until_done().await;
    parlor.simulator.set_scenario(None, None);

    parlor.create_message(COACH, &session, "第三句").await;
    parlor.work().await;
    let calls = parlor.simulator.calls();
    assert!(calls[1].session_id().is_some());
    let last = calls.last().unwrap();
    assert_eq!(last.session_id(), None);
    assert!(
        last.prompt().contains("用户: 第一句\nAI: "),
        "{}",
        last.prompt()
    );
}

#[tokio::test]
async fn after_any_failure_the_next_message_gets_a_reply() {
    let parlor = Parlor::start().await;
    for scenario in [
        "fail-first",
        "fail-mid",
        "inspection:0",
        "inspection:3",
        "cut",
        "cut-first",
        "no-stop",
        "throttle",
        "unavailable",
        "unauthorized",
        "app-denied",
        "error-framed",
        "error-mislabelled",
        "error-200",
        "expired-session:400",
        "bad-json",
        "json-instead",
        "empty",
        "nul",
        "odd-usage",
        "recorded:refusal-long-code",
    ] {
        let chat = parlor.open(COACH, scenario).await;
        parlor.send(COACH, chat, "第一问").await.ok();
        let question = format!("[[sim:{scenario}]]第二问");
        parlor.stream_to_end(COACH, chat, &question).await;
        invariants::check_next_message(&parlor, COACH, chat).await;
    }
}
