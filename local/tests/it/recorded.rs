//! Answers of real applications whose form is unusual, from DashScope to the client.

use serde_json::json;

use crate::harness::{
    events::{terminal, text},
    parlor::{COACH, Parlor},
};

/// The text that a client receives for a recorded answer. It must also be the stored text.
async fn reply_to(recording: &str) -> String {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let question = format!("[[sim:recorded:{recording}]]在吗");
    let events = parlor.stream_to_end(COACH, chat, &question).await;
    assert_eq!(terminal(&events).data["status"], "complete", "{recording}");
    assert_eq!(
        parlor.messages(COACH, chat).await[1]["content"],
        text(&events)
    );
    text(&events)
}

#[tokio::test]
async fn emoji_that_is_cut_between_frames_is_whole() {
    assert_eq!(reply_to("surrogates-split").await, "本月第一🎱，继续保持！");
}

#[tokio::test]
async fn whole_answer_after_its_pieces_is_not_shown_twice() {
    assert_eq!(
        reply_to("workflow-pieces-then-whole").await,
        "本周营业额上升"
    );
}

#[tokio::test]
async fn variables_of_a_workflow_are_not_shown() {
    assert_eq!(reply_to("workflow-start-node").await, "晴");
}

#[tokio::test]
async fn frames_that_repeat_the_text_so_far_are_shown_once() {
    assert_eq!(
        reply_to("cumulative-though-incremental").await,
        "周末包厢最满"
    );
}

#[tokio::test]
async fn repetition_in_an_answer_is_shown() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let events = parlor
        .stream_to_end(COACH, chat, "[[sim:say:哈|哈哈|哈哈哈|！]]笑一个")
        .await;
    assert_eq!(text(&events), "哈哈哈哈哈哈！");
}

#[tokio::test]
async fn thoughts_are_not_shown() {
    assert_eq!(reply_to("thinking").await, "结论：加一名教练。");
}

#[tokio::test]
async fn content_blocked_with_a_long_code_is_asked_once_and_is_no_alert() {
    for recording in ["refusal-long-code", "refusal-long-code:framed"] {
        let parlor = Parlor::start().await;
        let chat = parlor.open(COACH, "t").await;
        let question = format!("[[sim:recorded:{recording}]]坏问题");
        let events = parlor.stream_to_end(COACH, chat, &question).await;
        let end = &terminal(&events).data;
        assert_eq!(
            (&end["code"], &end["retryable"]),
            (&json!("content_blocked"), &json!(false)),
            "{recording}"
        );
        assert_eq!(end["message"], "内容未通过安全检查，请换个说法");
        assert_eq!(parlor.simulator.calls_count(), 1);
        assert_eq!(parlor.last_run().await["alert_status"], json!(null));
    }
}
