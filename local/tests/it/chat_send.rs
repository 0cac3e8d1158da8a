//! CHAT-3, and what every reply stores: run, usage, counters and DashScope session.

use std::cell::Cell;

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::{
    invariants,
    parlor::{Answer, COACH, OTHER_SITE, Parlor, STAFF},
    until,
};

#[tokio::test]
async fn a_message_gets_a_whole_reply_and_both_are_stored() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let answer = parlor
        .send(COACH, chat, "  [[sim:echo]]今天有几位会员？\n")
        .await;
    let (user, reply) = (&answer.ok()["userMessage"], &answer.body["aiReply"]);
    assert_eq!(user["content"], "[[sim:echo]]今天有几位会员？");
    assert_eq!(
        (&reply["content"], &reply["status"]),
        (&user["content"], &json!("complete"))
    );
    let messages = parlor.messages(COACH, chat).await;
    assert_eq!(
        (&messages[0]["id"], &messages[1]["id"]),
        (&user["id"], &reply["id"])
    );
    assert_eq!(
        (&messages[0]["role"], &messages[1]["role"]),
        (&json!("user"), &json!("assistant"))
    );
    assert_eq!(
        (&messages[0]["createdAt"], &messages[1]["createdAt"]),
        (&user["createdAt"], &reply["createdAt"])
    );
}

#[tokio::test]
async fn a_dashscope_failure_is_returned_as_a_failed_reply() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let answer = parlor.send(COACH, chat, "[[sim:unauthorized]]你好").await;
    assert_eq!(answer.ok()["aiReply"]["status"], "failed");
    assert_eq!(
        answer.body["aiReply"]["content"],
        "AI 服务暂时不可用，请稍后再试"
    );
    assert_eq!(
        parlor.messages(COACH, chat).await[0]["content"],
        "[[sim:unauthorized]]你好"
    );
    assert_eq!(parlor.last_run().await["status"], "failed");
}

#[tokio::test]
async fn throttling_is_retried_and_other_errors_are_not() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let answer = parlor.send(COACH, chat, "[[sim:throttle:2]]你好").await;
    assert_eq!(answer.ok()["aiReply"]["status"], "complete");
    assert_eq!(parlor.simulator.calls_count(), 3);
    assert_eq!(parlor.last_run().await["attempts"], 3);
    parlor
        .send(COACH, chat, "[[sim:inspection]]你好")
        .await
        .ok();
    assert_eq!(parlor.simulator.calls_count(), 4);
}

#[tokio::test]
async fn a_conversation_continues_its_dashscope_session_without_history() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.send(COACH, chat, "第一问").await.ok();
    parlor.send(COACH, chat, "第二问").await.ok();
    let calls = parlor.simulator.calls();
    assert_eq!((calls[0].prompt(), calls[0].session_id()), ("第一问", None));
    assert_eq!(calls[1].prompt(), "第二问");
    let stored: String =
        sqlx::query_scalar("select dashscope_session_id from biz.ai_conversations where id = $1")
            .bind(chat)
            .fetch_one(&parlor.db)
            .await
            .unwrap();
    assert_eq!(calls[1].session_id(), Some(&*stored));
    let params = &calls[0].body["input"]["biz_params"]["user_prompt_params"];
    assert_eq!(
        *params,
        json!({ "User_ID": "1001", "Role": "coach", "Nickname": "阿杰" })
    );
}

#[tokio::test]
async fn an_old_dashscope_session_is_replaced_by_the_history() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let first = parlor.send(COACH, chat, "第一问").await.ok()["aiReply"]["content"]
        .as_str()
        .unwrap()
        .to_owned();
    sqlx::query(
        "update biz.ai_conversations set dashscope_session_at = now() - interval '51 minutes'",
    )
    .execute(&parlor.db)
    .await
    .unwrap();
    parlor.send(COACH, chat, "第二问").await.ok();
    let call = &parlor.simulator.calls()[1];
    assert_eq!(call.session_id(), None);
    // The further lines of a turn are indented.
    let first = first.replace('\n', "\n  ");
    assert_eq!(
        call.prompt(),
        format!("[历史对话]\n用户: 第一问\nAI: {first}\n\n[当前问题]\n第二问")
    );
}

#[tokio::test]
async fn an_expired_dashscope_session_is_retried_with_the_history() {
    // DashScope may report an expired session in two ways: an error, or a new session with another
    // id.
    for scenario in [Some("expired-session"), None] {
        let parlor = Parlor::start().await;
        let chat = parlor.open(COACH, "t").await;
        parlor.send(COACH, chat, "第一问").await.ok();
        match scenario {
            Some(name) => parlor
                .simulator
                .set_scenario(None, Some(name.parse().unwrap())),
            None => parlor.simulator.expire_sessions(),
        }
        let answer = parlor.send(COACH, chat, "第二问").await;
        assert_eq!(answer.ok()["aiReply"]["status"], "complete", "{scenario:?}");
        let calls = parlor.simulator.calls();
        assert_eq!(calls.len(), 3, "{scenario:?}");
        assert!(calls[1].session_id().is_some() && calls[1].prompt() == "第二问");
        assert!(
            calls[2].session_id().is_none()
                && calls[2].prompt().contains("[历史对话]\n用户: 第一问")
        );
        let runs: i64 = sqlx::query_scalar("select count(*) from biz.ai_run_logs")
            .fetch_one(&parlor.db)
            .await
            .unwrap();
        assert_eq!(runs, 2);
    }
}

#[tokio::test]
async fn the_history_has_the_last_twenty_messages() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    for number in 0..12 {
        parlor
            .send(COACH, chat, &format!("[[sim:say:答{number}]]问{number}"))
            .await
            .ok();
    }
    sqlx::query("update biz.ai_conversations set dashscope_session_id = null")
        .execute(&parlor.db)
        .await
        .unwrap();
    parlor.send(COACH, chat, "现在呢").await.ok();
    let calls = parlor.simulator.calls();
    let prompt = calls.last().unwrap().prompt();
    assert_eq!(
        prompt.matches("用户: ").count() + prompt.matches("AI: ").count(),
        20
    );
    assert!(
        !prompt.contains("问1\n") && prompt.contains("问2\n"),
        "{prompt}"
    );
}

#[tokio::test]
async fn the_same_call_twice_sends_the_same_bytes() {
    let parlor = Parlor::start().await;
    let (one, two) = (parlor.open(COACH, "1").await, parlor.open(COACH, "2").await);
    parlor.send(COACH, one, "你好").await.ok();
    parlor.send(COACH, two, "你好").await.ok();
    let calls = parlor.simulator.calls();
    assert_eq!(calls[0].body, calls[1].body);
}

#[tokio::test]
async fn a_run_records_prompt_response_and_cost() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let answer = parlor.send(COACH, chat, "你好").await;
    let run = parlor.last_run().await;
    assert_eq!(run["status"], "success");
    assert_eq!(run["request_prompt"], "你好");
    assert_eq!(run["response_text"], answer.body["aiReply"]["content"]);
    assert_eq!(run["message_id"], answer.body["aiReply"]["id"]);
    assert_eq!(run["prompt_version"], "app1_chat/4");
    assert_eq!(
        run["tokens_used"].as_i64(),
        Some(run["tokens_in"].as_i64().unwrap() + run["tokens_out"].as_i64().unwrap())
    );
    assert_eq!(
        (&run["tokens_estimated"], &run["attempts"]),
        (&json!(false), &json!(1))
    );
    assert!(
        run["first_token_ms"].is_i64()
            && run["latency_ms"].is_i64()
            && run["upstream_request_id"].is_string()
    );
    let usage = parlor.usage(1).await;
    assert_eq!(
        (&usage["calls"], &usage["successes"], &usage["failures"]),
        (&json!(1), &json!(1), &json!(0))
    );
    assert_eq!(
        (&usage["tokens"], &usage["reserved_tokens"]),
        (&run["tokens_used"], &json!(0))
    );
    for buckets in ["latency_buckets", "first_token_buckets"] {
        assert_eq!(usage[buckets], json!([1]), "{buckets}");
    }
    assert_eq!(
        (&usage["latency_max_ms"], &usage["first_token_max_ms"]),
        (&run["latency_ms"], &run["first_token_ms"])
    );
}

#[tokio::test]
async fn unreported_tokens_are_null_and_charged_as_reserved() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.send(COACH, chat, "[[sim:no-usage]]你好").await.ok();
    let run = parlor.last_run().await;
    assert_eq!(
        (&run["tokens_used"], &run["tokens_estimated"]),
        (&json!(null), &json!(true))
    );
    let usage = parlor.usage(1).await;
    assert_eq!(
        (&usage["tokens"], &usage["reserved_tokens"]),
        (&run["reserved_tokens"], &json!(0))
    );
}

#[tokio::test]
async fn a_refused_call_costs_nothing_but_is_counted() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor
        .send(COACH, chat, "[[sim:unauthorized]]你好")
        .await
        .ok();
    let usage = parlor.usage(1).await;
    assert_eq!(
        (&usage["calls"], &usage["failures"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        (&usage["tokens"], &usage["reserved_tokens"]),
        (&json!(0), &json!(0))
    );
}

#[tokio::test]
async fn today_is_the_local_day_of_the_site() {
    let parlor = Parlor::start().await;
    // The two zones never have the same date.
    for (zone, site, user) in [("Pacific/Kiritimati", 1, COACH), ("Pacific/Niue", 2, 2001)] {
        sqlx::query("update biz.sites set timezone = $1 where id = $2")
            .bind(zone)
            .bind(site)
            .execute(&parlor.db)
            .await
            .unwrap();
        let chat = parlor.open(user, "t").await;
        parlor.send(user, chat, "你好").await.ok();
        let same: bool = sqlx::query_scalar("select bool_and(day = (now() at time zone $1)::date) from biz.ai_usage_daily where site_id = $2")
            .bind(zone)
            .bind(site)
            .fetch_one(&parlor.db)
            .await
            .unwrap();
        assert!(same, "{zone}");
    }
    let days: i64 = sqlx::query_scalar("select count(distinct day) from biz.ai_usage_daily")
        .fetch_one(&parlor.db)
        .await
        .unwrap();
    assert_eq!(days, 2);
}

/// Opens a hundred conversations at both sites.
async fn a_hundred(parlor: &Parlor) -> Vec<(i64, i64)> {
    let users = [COACH, STAFF, 1003, 1004, OTHER_SITE];
    let mut chats = Vec::new();
    for number in 0..100 {
        let user = users[number % users.len()];
        chats.push((user, parlor.open(user, &format!("t{number}")).await));
    }
    chats
}

/// Sends a message to each conversation concurrently, and twice to every seventh. These are three
/// of each user, who may have five readers. `waiting` counts the missing responses.
async fn send_to_all(parlor: &Parlor, chats: &[(i64, i64)], waiting: &Cell<usize>) -> Vec<Answer> {
    let doubled = chats.iter().step_by(7);
    join_all(chats.iter().chain(doubled).map(async |(user, chat)| {
        let path = format!("/api/xcx/chat/{chat}/messages");
        let body = json!({ "content": "你好", "clientMessageId": "只有一条" });
        // With so many requests, some time out on a connection. A client then retries.
        until("the message is accepted", async || {
            let answer = parlor.post(*user, &path, &body).await;
            (answer.status != 503).then(|| {
                waiting.set(waiting.get() - 1);
                answer
            })
        })
        .await
    }))
    .await
}

#[tokio::test]
async fn concurrent_sends_keep_sequence_numbers_and_counters_exact() {
    let parlor = Parlor::start().await;
    sqlx::query("update biz.ai_budgets set daily_limit = 100000000, monthly_limit = 100000000")
        .execute(&parlor.db)
        .await
        .unwrap();
    let chats = a_hundred(&parlor).await;
    let answers = send_to_all(&parlor, &chats, &Cell::new(115)).await;
    for (first, again) in answers.iter().step_by(7).zip(&answers[100..]) {
        assert_eq!(first.ok(), again.ok());
    }
    for answer in &answers {
        assert_eq!(answer.ok()["aiReply"]["status"], "complete");
    }
    assert_eq!(parlor.simulator.calls_count(), 100);
    for (user, chat) in chats {
        assert_eq!(parlor.messages(user, chat).await.len(), 2);
        invariants::check_conversation(&parlor, user, chat).await;
    }
    invariants::check_books(&parlor).await;
    let usage = parlor.usage(1).await;
    assert_eq!(
        (&usage["calls"], &usage["successes"]),
        (&json!(80), &json!(80))
    );
    assert_eq!(
        parlor.get(COACH, "/api/xcx/chat/history").await.ok()["total"],
        20
    );
}

#[tokio::test]
async fn concurrent_sends_do_not_exceed_a_budget() {
    let parlor = Parlor::start().await;
    // Each message reserves little more than 2,000 tokens, so that ten fit for each site. The
    // constraints make the database refuse more.
    sqlx::raw_sql(
        "update biz.ai_budgets set daily_limit = 21000;
         alter table biz.ai_usage_daily add constraint within_budget check (tokens + reserved_tokens <= 21000);
         alter table biz.ai_usage_days add constraint within_budget check (tokens <= 21000)",
    )
    .execute(&parlor.db)
    .await
    .unwrap();
    let chats = a_hundred(&parlor).await;
    parlor.simulator.hold_after(0);
    let waiting = Cell::new(115);
    let release = async {
        // No reply ends before all other messages are refused.
        until(
            "ten replies per site run, and all others are refused",
            async || {
                let asked: Vec<i64> = sqlx::query_scalar(
                    "select conversation_id from biz.ai_messages where role = 'user'",
                )
                .fetch_all(&parlor.db)
                .await
                .unwrap();
                let doubled = chats.iter().step_by(7);
                let twice = doubled.filter(|(_, chat)| asked.contains(chat)).count();
                (asked.len() == 20 && waiting.get() == 20 + twice).then_some(())
            },
        )
        .await;
        parlor.simulator.called(20).await;
        parlor.simulator.release();
    };
    let (answers, ()) = tokio::join!(send_to_all(&parlor, &chats, &waiting), release);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        answer.refused(429, "budget_exceeded");
    }
    assert_eq!(parlor.simulator.calls_count(), 20);
    for (user, chat) in chats {
        invariants::check_conversation(&parlor, user, chat).await;
    }
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn bad_content_is_refused_and_nothing_is_stored() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let path = format!("/api/xcx/chat/{chat}/messages");
    for (body, field) in [
        (json!({}), "content"),
        (json!({ "content": null }), "content"),
        (json!({ "content": "" }), "content"),
        (json!({ "content": " \u{3000}\n\t\u{a0}" }), "content"),
        (json!({ "content": 7 }), "content"),
        (json!({ "content": ["你好"] }), "content"),
        (json!({ "content": "字".repeat(8001) }), "content"),
        (json!({ "content": "a\u{0}b" }), "content"),
        (
            json!({ "content": "你好", "clientMessageId": "" }),
            "clientMessageId",
        ),
        (
            json!({ "content": "你好", "clientMessageId": "字".repeat(65) }),
            "clientMessageId",
        ),
        (
            json!({ "content": "你好", "clientMessageId": "\u{0}" }),
            "clientMessageId",
        ),
        (
            json!({ "content": "你好", "clientMessageId": 1 }),
            "clientMessageId",
        ),
        (json!([]), "body"),
    ] {
        let refused = parlor.post(COACH, &path, &body).await;
        assert_eq!(
            refused.refused(422, "invalid_request")["field"],
            field,
            "{body}"
        );
    }
    assert_eq!(
        parlor
            .post(COACH, &path, &json!({ "content": " " }))
            .await
            .body["detail"],
        "消息内容不能为空"
    );
    for (body, field) in [
        (json!({ "content": "你好" }), "chatId"),
        (json!({ "chatId": "1", "content": "你好" }), "chatId"),
        (json!({ "chatId": 1.5, "content": "你好" }), "chatId"),
        (json!({ "chatId": 1e30, "content": "你好" }), "chatId"),
        (
            json!({ "chatId": chat, "content": "你好", "sourcePage": "home" }),
            "sourcePage",
        ),
        (
            json!({ "chatId": chat, "content": "你好", "pageContext": [] }),
            "pageContext",
        ),
        (
            json!({ "chatId": chat, "content": "你好", "pageContext": { "a": "x".repeat(5000) } }),
            "pageContext",
        ),
        (
            json!({ "chatId": chat, "content": "你好", "pageContext": { "a": "\u{0}" } }),
            "pageContext",
        ),
    ] {
        let refused = parlor.post(COACH, "/api/xcx/chat/stream", &body).await;
        assert_eq!(
            refused.refused(422, "invalid_request")["field"],
            field,
            "{body}"
        );
    }
    assert_eq!(parlor.messages(COACH, chat).await.len(), 0);
    let longest = "🎱".repeat(8000);
    assert_eq!(
        parlor.send(COACH, chat, &longest).await.ok()["userMessage"]["content"],
        longest
    );
}
