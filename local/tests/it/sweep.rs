//! What becomes of a reply whose maker died.

use common::sweep;
use serde_json::json;

use crate::harness::{
    events::{terminal, text},
    parlor::{COACH, Parlor},
    until,
};

/// As if the process had been killed: the row stays as its last checkpoint left it.
async fn abandoned(parlor: &Parlor, content: &str) -> i64 {
    let chat = parlor.open(COACH, "t").await;
    parlor.simulator.hold_after(3);
    let mut stream = parlor.stream(COACH, chat, content).await;
    stream.expect("start").await;
    chat
}

#[tokio::test]
async fn a_dead_reply_keeps_what_was_said_and_gives_its_reservation_back_as_a_charge() {
    let parlor = Parlor::start().await;
    let chat = abandoned(&parlor, "[[sim:echo]]说到一半就断了，剩下的再也没有。").await;
    let said = until("a checkpoint", async || {
        let content = parlor.messages(COACH, chat).await[1]["content"]
            .as_str()
            .unwrap()
            .to_owned();
        (!content.is_empty()).then_some(content)
    })
    .await;
    assert_eq!(
        sweep::run(&parlor.db).await.unwrap().replies,
        0,
        "its maker is alive"
    );
    until("the dead are found", async || {
        // Its maker lives on in this process and renews the lease now and then.
        sqlx::query("update biz.ai_messages set lease_until = now() - interval '1 second' where state = 'streaming'")
            .execute(&parlor.db)
            .await
            .unwrap();
        (sweep::run(&parlor.db).await.unwrap().replies == 1).then_some(())
    })
    .await;
    let message = &parlor.messages(COACH, chat).await[1];
    assert_eq!(
        (&message["status"], &message["content"]),
        (&json!("interrupted"), &json!(said))
    );
    let run = parlor.last_run().await;
    assert_eq!(
        (&run["status"], &run["error_code"], &run["tokens_estimated"]),
        (&json!("failed"), &json!("interrupted"), &json!(true))
    );
    let usage = parlor.usage(1).await;
    assert_eq!(
        (&usage["calls"], &usage["tokens"], &usage["reserved_tokens"]),
        (&json!(1), &json!(2000), &json!(0))
    );

    // Whoever wakes up late writes nothing, and the conversation goes on.
    parlor.simulator.release();
    parlor.simulator.active(0).await;
    assert_eq!(
        parlor.messages(COACH, chat).await[1]["content"],
        json!(said)
    );
    assert_eq!(parlor.usage(1).await["calls"], 1);
    parlor.send(COACH, chat, "接着说").await.ok();
}

#[tokio::test]
async fn a_repeat_of_a_message_whose_reply_is_dead_gets_what_was_said_and_an_error() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    // A maker that began, made one checkpoint and died.
    sqlx::query("select biz.begin_reply(1, $1, $2, '你好', 'c', 'app1_chat', 2000, 100, 100, 30)")
        .bind(COACH)
        .bind(chat)
        .execute(&parlor.db)
        .await
        .unwrap();
    sqlx::query("update biz.ai_messages set content = '说到一半', lease_until = now() where state = 'streaming'")
        .execute(&parlor.db)
        .await
        .unwrap();
    let body = json!({ "chatId": chat, "content": "你好", "clientMessageId": "c" });
    let events = parlor.stream_body(COACH, &body).await.rest().await;
    let error = terminal(&events);
    assert_eq!(
        (&*error.name, &error.data["retryable"]),
        ("error", &json!(true))
    );
    assert_eq!(text(&events), "说到一半");
    assert_eq!(parlor.simulator.calls_count(), 0);
}
