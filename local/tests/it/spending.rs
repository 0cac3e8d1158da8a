//! What a run is charged if DashScope fails, reports too much, or does not stop.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{
    events::{terminal, text},
    invariants,
    parlor::{COACH, Parlor},
};

/// Tokens of a prompt, as the simulator counts them.
fn tokens(prompt: &str) -> usize {
    24 + prompt.chars().count().div_ceil(2)
}

#[tokio::test]
async fn usage_of_all_tries_is_charged() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let events = parlor
        .stream_to_end(COACH, chat, "[[sim:cut-first:1+say:好]]在吗")
        .await;
    assert_eq!(text(&events), "好");
    let run = parlor.last_run().await;
    let prompt = parlor.simulator.calls()[0].prompt().to_owned();
    assert_eq!(run["attempts"], 2);
    // The first try thought for 15 tokens.
    assert_eq!(run["tokens_in"], 2 * tokens(&prompt));
    assert_eq!(run["tokens_out"], (1 + 15) + (1 + 1));
    assert_eq!(run["tokens_charged"], run["tokens_used"]);
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn each_try_of_unknown_usage_is_charged_its_reservation() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor
        .stream_to_end(COACH, chat, "[[sim:cut-first:1+no-usage+say:好]]在吗")
        .await;
    let run = parlor.last_run().await;
    assert_eq!(
        (&run["tokens_used"], &run["tokens_estimated"]),
        (&json!(null), &json!(true))
    );
    assert_eq!(
        run["tokens_charged"].as_i64(),
        run["reserved_tokens"].as_i64().map(|tokens| 2 * tokens)
    );
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn more_tokens_than_a_model_can_use_are_not_believed() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let events = parlor
        .stream_to_end(COACH, chat, "[[sim:odd-usage:huge]]在吗")
        .await;
    assert_eq!(terminal(&events).data["status"], "complete");
    let run = parlor.last_run().await;
    assert_eq!(run["tokens_charged"], run["reserved_tokens"]);
    assert_eq!(
        (&run["status"], &run["error_code"], &run["alert_status"]),
        (
            &json!("success"),
            &json!("usage_implausible"),
            &json!("pending")
        )
    );
    // The budget has room for the next message.
    let next = parlor.send(COACH, chat, "还在吗").await;
    assert_eq!(next.ok()["aiReply"]["status"], "complete");
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn answer_above_the_limit_is_broken_off() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    // More than 2 MiB.
    let events = parlor
        .stream_to_end(COACH, chat, "[[sim:huge:2200000]]在吗")
        .await;
    let end = terminal(&events);
    assert_eq!(
        (end.name.as_str(), &end.data["retryable"]),
        ("error", &json!(false))
    );
    assert_eq!(parlor.messages(COACH, chat).await[1]["status"], "failed");
    let run = parlor.last_run().await;
    let message = run["error_message"].as_str().unwrap();
    assert!(message.contains("longer than 2097152 bytes"), "{message}");
    assert_eq!(parlor.simulator.calls_count(), 1);
    invariants::check_books(&parlor).await;
}

/// A message of the greatest length, in characters.
fn long_message() -> String {
    "长".repeat(8_000)
}

/// Tokens that the run reserved for its prompt and for the rest.
fn reserved(run: &Value) -> (i64, i64) {
    let tokens = |name: &str| run[name].as_i64().unwrap();
    let prompt = tokens("prompt_tokens");
    (prompt, tokens("reserved_tokens") - prompt)
}

#[tokio::test]
async fn concurrent_calls_with_long_prompts_stay_within_the_budget() {
    let parlor = Parlor::start().await;
    parlor
        .execute("update biz.ai_budgets set daily_limit = 10000")
        .await;
    let mut chats = Vec::new();
    for n in 0..5 {
        chats.push(parlor.open(COACH, &format!("t{n}")).await);
    }
    parlor.simulator.hold_after(0);
    let message = long_message();
    let sends = join_all(chats.iter().map(async |chat| {
        let body = json!({ "chatId": chat, "content": message });
        let request = parlor.request_as(COACH, "POST", "/api/xcx/chat/stream");
        request.json(&body).send().await.unwrap()
    }))
    .await;
    // 8,000 characters reserve 4,800 tokens, and the answer 2,000.
    let mut codes: Vec<_> = sends.iter().map(|send| send.status().as_u16()).collect();
    codes.sort_unstable();
    assert_eq!(codes, [200, 429, 429, 429, 429]);
    parlor.simulator.release();
    drop(sends);
    parlor.settled().await;
    let used = parlor.usage(1).await["tokens"].as_i64().unwrap();
    assert!((4_000..=10_000).contains(&used), "{used}");
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn a_reservation_has_the_history_and_the_average_of_earlier_calls() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.send(COACH, chat, "[[sim:say:好]]在吗").await.ok();
    let first = parlor.last_run().await;
    assert_eq!(reserved(&first).1, 2_000);
    let rest = first["tokens_used"].as_i64().unwrap() - reserved(&first).0;

    // The session is alive, so only the message is sent.
    parlor.send(COACH, chat, &long_message()).await.ok();
    let second = parlor.last_run().await;
    assert_eq!(reserved(&second), (4_800, rest));
    parlor
        .execute("update biz.ai_conversations set dashscope_session_id = null")
        .await;
    parlor.send(COACH, chat, "短").await.ok();
    let third = parlor.last_run().await;
    assert!(reserved(&third).0 > 4_800, "{third}");
}
