//! Content that DashScope blocks is no outage. It is not kept, and does not block later messages.

use serde_json::json;

use crate::harness::{
    events::{EventStream, terminal, text},
    invariants,
    parlor::{COACH, Parlor},
};

const SENTENCE: &str = "内容未通过安全检查，请换个说法";

#[tokio::test]
async fn blocked_reply_is_not_kept_and_is_no_alert() {
    // Before any text, and after some pieces.
    for scenario in ["inspection:0", "inspection:3"] {
        let parlor = Parlor::start().await;
        let chat = parlor.open(COACH, "t").await;
        let question = format!("[[sim:{scenario}]]坏问题");
        let events = parlor.stream_to_end(COACH, chat, &question).await;
        let end = terminal(&events);
        assert_eq!(end.data["code"], "content_blocked", "{scenario}");
        assert_eq!(end.data["message"], SENTENCE);
        assert_eq!(end.data["retryable"], json!(false));

        let reply = &parlor.messages(COACH, chat).await[1];
        assert_eq!(
            (&reply["status"], &reply["content"]),
            (&json!("failed"), &json!(""))
        );
        let path = format!("/api/xcx/chat/stream/{}", events[0].data["messageId"]);
        let response = parlor.request_as(COACH, "GET", &path).send().await.unwrap();
        let again = EventStream::new(response).rest().await;
        assert_eq!(
            (text(&again), &terminal(&again).data),
            (String::new(), &end.data)
        );
        let run = parlor.last_run().await;
        assert_eq!(run["error_code"], "content_blocked");
        assert_eq!(
            (&run["alert_status"], &run["attempts"]),
            (&json!(null), &json!(1))
        );
        let failures: i64 =
            sqlx::query_scalar("select coalesce(sum(failures), 0) from biz.ai_circuits")
                .fetch_one(&parlor.db)
                .await
                .unwrap();
        assert_eq!(failures, 0);
        invariants::check(&parlor, COACH, chat).await;
    }
}

#[tokio::test]
async fn blocked_question_never_enters_a_prompt_again() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.send(COACH, chat, "第一问").await.ok();
    let blocked = parlor.send(COACH, chat, "[[sim:inspection:0]]坏问题").await;
    assert_eq!(blocked.ok()["aiReply"]["content"], SENTENCE);

    parlor.send(COACH, chat, "第二问").await.ok();
    let calls = parlor.simulator.calls();
    let prompt = calls.last().unwrap().prompt();
    assert!(
        prompt.contains("第一问") && !prompt.contains("坏问题"),
        "{prompt}"
    );
}

#[tokio::test]
async fn question_blocked_at_a_bot_never_enters_a_prompt_again() {
    let parlor = Parlor::start().await;
    let session = parlor.begin_session(COACH).await;
    for content in ["第一问", "[[sim:inspection:0]]坏问题", "第二问"] {
        parlor.create_message(COACH, &session, content).await;
        parlor.work().await;
    }
    let calls = parlor.simulator.calls();
    let prompt = calls.last().unwrap().prompt();
    assert!(
        prompt.contains("第一问") && !prompt.contains("坏问题"),
        "{prompt}"
    );
}
