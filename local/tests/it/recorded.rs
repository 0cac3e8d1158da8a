//! Answers of real applications whose form is unusual, from DashScope to the client.

use serde_json::{Value, json};

use crate::harness::{
    events::{SseEvent, terminal, text},
    jobs::SITE_ADMIN,
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

/// The events of a reply to this recorded answer.
async fn events_of(parlor: &Parlor, chat: i64, recording: &str) -> Vec<SseEvent> {
    let question = format!("[[sim:recorded:{recording}]]在吗");
    let events = parlor.stream_to_end(COACH, chat, &question).await;
    terminal(&events);
    events
}

fn data_of<'a>(events: &'a [SseEvent], name: &str) -> Vec<&'a Value> {
    let named = events.iter().filter(|event| event.name == name);
    named.map(|event| &event.data).collect()
}

#[tokio::test]
async fn thoughts_and_nodes_are_progress_that_a_resumed_stream_does_not_repeat() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    // The same thought three times is one event.
    for (recording, progress) in [
        ("thinking", json!({"kind": "thinking", "name": "思考过程"})),
        (
            "workflow-start-node",
            json!({"kind": "node", "name": "开始"}),
        ),
    ] {
        let events = events_of(&parlor, chat, recording).await;
        assert_eq!(data_of(&events, "progress"), [&progress], "{recording}");
        let message = &events[0].data["messageId"];
        let again = parlor.resume(COACH, message, "").await.rest().await;
        assert_eq!(text(&again), text(&events));
        assert_eq!(data_of(&again, "progress").len(), 0, "{recording}");
    }
}

#[tokio::test]
async fn cited_documents_come_before_the_end_and_are_stored() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let references = json!([
        {"index": 1, "title": "会员手册", "url": "https://example.com/a.pdf", "page": 3}
    ]);
    let events = events_of(&parlor, chat, "references").await;
    assert_eq!(text(&events), "会员日在每月八号[1]。");
    let items = json!({"items": references});
    assert_eq!(data_of(&events, "references"), [&items]);

    let messages = parlor.messages(COACH, chat).await;
    assert_eq!(messages[0]["references"], json!([]));
    assert_eq!(messages[1]["references"], references);
    assert_eq!(messages[1]["content"], text(&events));
    // From the start, from the middle and after the last character.
    for after in [0, 9, 12] {
        let query = format!("after={after}");
        let mut stream = parlor.resume(COACH, &messages[1]["id"], &query).await;
        let again = stream.rest().await;
        assert_eq!(data_of(&again, "references"), [&items], "{after}");
        assert_eq!(again[again.len() - 2].name, "references");
    }

    let block = format!("/api/admin/ai/messages/{}/block", messages[1]["id"]);
    parlor
        .call(SITE_ADMIN, "POST", &block, &json!({}))
        .await
        .ok();
    let blocked = parlor.messages(COACH, chat).await;
    assert_eq!(blocked[1]["references"], json!([]));
    let again = parlor
        .resume(COACH, &messages[1]["id"], "")
        .await
        .rest()
        .await;
    assert_eq!(data_of(&again, "references").len(), 0);

    let answer = parlor
        .send(COACH, chat, "[[sim:recorded:references]]在吗")
        .await;
    assert_eq!(answer.ok()["aiReply"]["references"], references);
    let answer = parlor.send(COACH, chat, "[[sim:echo]]在吗").await;
    assert_eq!(answer.ok()["aiReply"]["references"], json!([]));
}

#[tokio::test]
async fn documents_that_a_bot_cites_are_stored() {
    let parlor = Parlor::start().await;
    let session = parlor.begin_session(COACH).await;
    parlor
        .create_message(COACH, &session, "[[sim:recorded:references]]在吗")
        .await;
    parlor.work().await;
    let page = parlor.session_messages(COACH, &session, "").await;
    let messages = &page["messages"];
    assert_eq!(messages[0]["references"], json!([]));
    assert_eq!(messages[1]["content"], "会员日在每月八号[1]。");
    assert_eq!(messages[1]["references"][0]["title"], "会员手册");
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
