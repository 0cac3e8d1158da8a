//! Replies of bots to session messages, made by jobs.

use local::simulator::RecordedCall;
use serde_json::{Value, json};

use crate::harness::{
    invariants,
    parlor::{COACH, Parlor, STAFF, Setup},
    sessions::BOT,
};

impl Parlor {
    /// All messages of a session.
    pub async fn messages_of(&self, user: i64, session: &str) -> Vec<Value> {
        let page = self.session_messages(user, session, "limit=100").await;
        page["messages"].as_array().unwrap().clone()
    }

    async fn jobs(&self) -> Vec<Value> {
        sqlx::query_scalar("select to_jsonb(j) from biz.ai_trigger_jobs j order by id")
            .fetch_all(&self.db)
            .await
            .unwrap()
    }
}

/// The conversation of the only session.
pub async fn chat_of(parlor: &Parlor) -> i64 {
    sqlx::query_scalar("select id from biz.ai_conversations where bot_id is not null")
        .fetch_one(&parlor.db)
        .await
        .unwrap()
}

#[tokio::test]
async fn the_bots_agent_replies_and_the_reply_is_unread() {
    let parlor = Parlor::start().await;
    let session = parlor.begin_session(COACH).await;
    let message = parlor
        .create_message(COACH, &session, "会员最近来得少，怎么办？")
        .await;
    assert_eq!(parlor.work().await.succeeded, 1);

    let messages = parlor.messages_of(COACH, &session).await;
    assert_eq!(messages.len(), 2);
    let reply = &messages[1];
    assert_eq!(
        (&reply["sender_type"], &reply["bot_id"]),
        (&json!("bot"), &json!(BOT))
    );
    assert_eq!(
        (&reply["reply_to"], &reply["status"]),
        (&json!(message), &json!("delivered"))
    );
    assert_eq!(messages[0]["ack_status"], "acked");
    assert!(!reply["content"].as_str().unwrap().is_empty());
    let detail = parlor.session(COACH, &session).await;
    assert_eq!(
        (&detail["message_count"], &detail["unread_count"]),
        (&json!(2), &json!(1))
    );

    let run = parlor.last_run().await;
    assert_eq!(
        (&run["trigger_type"], &run["status"], &run["user_id"]),
        (&json!("session"), &json!("success"), &json!(COACH))
    );
    assert_eq!(run["job_id"], parlor.jobs().await[0]["id"]);
    let asked = parlor.simulator.calls();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].prompt(), "会员最近来得少，怎么办？");
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn dashscope_gets_the_session_or_the_history_never_both() {
    let parlor = Parlor::start().await;
    let session = parlor.begin_session(COACH).await;
    for content in ["你好", "还在吗"] {
        parlor.create_message(COACH, &session, content).await;
        parlor.work().await;
    }
    let asked = parlor.simulator.calls();
    assert_eq!(asked[1].prompt(), "还在吗");
    assert!(asked[1].session_id().is_some());

    // If DashScope has lost the session, the history is sent once.
    parlor.simulator.expire_sessions();
    parlor
        .simulator
        .set_scenario(None, Some("expired-session".parse().unwrap()));
    parlor.create_message(COACH, &session, "第三句").await;
    parlor.simulator.set_scenario(None, None);
    parlor.work().await;
    let asked = parlor.simulator.calls();
    let last = asked.last().unwrap();
    assert!(
        last.session_id().is_none() && last.prompt().contains("用户: 你好"),
        "{}",
        last.prompt()
    );
    assert_eq!(parlor.messages_of(COACH, &session).await.len(), 6);
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn a_permanent_failure_stores_a_failed_message() {
    let parlor = Parlor::start().await;
    parlor
        .simulator
        .set_scenario(None, Some("inspection".parse().unwrap()));
    let session = parlor.begin_session(COACH).await;
    let message = parlor.create_message(COACH, &session, "你好").await;
    assert_eq!(parlor.work().await.failed, 1);
    let messages = parlor.messages_of(COACH, &session).await;
    assert_eq!(
        (&messages[1]["status"], &messages[1]["reply_to"]),
        (&json!("failed"), &json!(message))
    );
    assert!(
        messages[1]["content"]
            .as_str()
            .unwrap()
            .contains("could not be made")
    );
    let job = &parlor.jobs().await[0];
    assert_eq!(
        (&job["status"], &job["error_code"]),
        (&json!("failed"), &json!("content_blocked"))
    );
    // The failed message is not part of the history.
    parlor.simulator.set_scenario(None, None);
    parlor.create_message(COACH, &session, "再来").await;
    parlor.work().await;
    let asked = parlor.simulator.calls();
    assert!(!asked.last().unwrap().prompt().contains("could not be made"));
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn a_dashscope_outage_is_tried_three_times() {
    let parlor = Parlor::start().await;
    parlor
        .simulator
        .set_scenario(None, Some("unavailable".parse().unwrap()));
    let session = parlor.begin_session(COACH).await;
    parlor.create_message(COACH, &session, "你好").await;
    for attempt in 1..=3 {
        let done = parlor.work().await;
        assert_eq!(
            (done.given_back, done.failed),
            if attempt < 3 { (1, 0) } else { (0, 1) }
        );
        parlor.make_jobs_due().await;
    }
    assert_eq!(
        parlor.messages_of(COACH, &session).await[1]["status"],
        "failed"
    );
    let runs: i64 =
        sqlx::query_scalar("select count(*) from biz.ai_run_logs where trigger_type = 'session'")
            .fetch_one(&parlor.db)
            .await
            .unwrap();
    assert_eq!(runs, 3);
}

#[tokio::test]
async fn a_reply_is_stored_after_the_session_was_closed_or_got_messages() {
    let parlor = Parlor::start().await;
    let session = parlor.begin_session(COACH).await;
    parlor.create_message(COACH, &session, "第一句").await;
    parlor.simulator.hold_after(0);
    let meanwhile = async {
        parlor.simulator.held(1).await;
        parlor.create_message(COACH, &session, "第二句").await;
        let path = format!("/api/chat/sessions/{session}");
        let closed = parlor
            .request_as(COACH, "DELETE", &path)
            .send()
            .await
            .unwrap();
        assert_eq!(closed.status(), 200);
        parlor.simulator.release();
    };
    futures_util::future::join(parlor.work(), meanwhile).await;
    parlor.work().await;
    let messages = parlor.messages_of(COACH, &session).await;
    assert_eq!(messages.len(), 4);
    let order: Vec<_> = messages
        .iter()
        .map(|message| message["sender_type"].clone())
        .collect();
    assert_eq!(order, ["user", "user", "bot", "bot"]);
    assert_eq!(
        (&messages[2]["reply_to"], &messages[3]["reply_to"]),
        (&messages[0]["id"], &messages[1]["id"])
    );
    let detail = parlor.session(COACH, &session).await;
    assert_eq!(
        (&detail["status"], &detail["unread_count"]),
        (&json!("closed"), &json!(2))
    );
}

#[tokio::test]
async fn after_a_worker_dies_another_replies_once() {
    let parlor = Parlor::start().await;
    let session = parlor.begin_session(COACH).await;
    parlor.create_message(COACH, &session, "你好").await;
    parlor.simulator.hold_after(0);
    let dying = parlor.worker.clone();
    tokio::select! {
        _ = dying.run(None) => panic!("the worker ends"),
        () = parlor.simulator.held(1) => {}
    }
    parlor.simulator.release();
    parlor.expire_leases_and_sweep().await;
    assert_eq!(parlor.work().await.succeeded, 1);
    let messages = parlor.messages_of(COACH, &session).await;
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[1]["status"], "delivered");
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn a_reply_that_crashes_every_worker_ends_as_failed() {
    let parlor = Parlor::start().await;
    let session = parlor.begin_session(COACH).await;
    parlor.create_message(COACH, &session, "你好").await;
    for _ in 0..3 {
        parlor
            .execute("update biz.ai_trigger_jobs set status = 'running', attempts = attempts + 1, claims = claims + 1, lease_until = now()")
            .await;
        parlor.expire_leases_and_sweep().await;
    }
    assert_eq!(
        parlor.messages_of(COACH, &session).await[1]["status"],
        "failed"
    );
    assert_eq!(parlor.jobs().await[0]["status"], "failed");
}

#[tokio::test]
async fn session_replies_run_before_background_jobs() {
    let parlor = Parlor::with_business(Setup {
        env: vec![("JOB_CONCURRENCY", "1".into())],
        ..Setup::default()
    })
    .await;
    for order in 1..=3 {
        parlor.member_paid(10_000 + order, order).await;
    }
    let session = parlor.begin_session(COACH).await;
    parlor.create_message(COACH, &session, "你好").await;
    parlor.work().await;
    let first: String = sqlx::query_scalar(
        "select event_type from biz.ai_trigger_jobs order by started_at limit 1",
    )
    .fetch_one(&parlor.db)
    .await
    .unwrap();
    assert_eq!(first, "chat.session_message");
}

#[tokio::test]
async fn a_site_without_budget_gets_the_error_at_once() {
    let parlor = Parlor::start().await;
    let session = parlor.begin_session(COACH).await;
    parlor
        .execute(
            "insert into biz.ai_budgets (site_id, daily_limit, monthly_limit) values (1, 100, 100)",
        )
        .await;
    let path = format!("/api/chat/sessions/{session}/messages");
    let refused = parlor
        .post(COACH, &path, &json!({ "content": "你好" }))
        .await;
    refused.refused_at(&path, 429, "budget_exceeded");
    // If the budget is used up after the message is accepted, the reply fails.
    parlor
        .execute("delete from biz.ai_budgets where site_id = 1")
        .await;
    parlor.create_message(COACH, &session, "你好").await;
    parlor
        .execute(
            "insert into biz.ai_budgets (site_id, daily_limit, monthly_limit) values (1, 100, 100)",
        )
        .await;
    parlor.work().await;
    assert_eq!(
        parlor.messages_of(COACH, &session).await[1]["status"],
        "failed"
    );
}

#[tokio::test]
async fn the_mini_program_continues_a_session_and_marks_it_read() {
    let parlor = Parlor::start().await;
    let session = parlor.begin_session(STAFF).await;
    parlor.create_message(STAFF, &session, "你好").await;
    parlor.work().await;
    let chat = chat_of(&parlor).await;
    // The call uses the bot's own application.
    parlor
        .execute("update biz.agents set app_id = 'the-bots-own'")
        .await;
    parlor.send(STAFF, chat, "在小程序里接着问").await.ok();
    assert_eq!(
        parlor.simulator.calls().last().unwrap().app_id,
        "the-bots-own"
    );
    let detail = parlor.session(STAFF, &session).await;
    assert_eq!(
        (&detail["message_count"], &detail["unread_count"]),
        (&json!(4), &json!(0))
    );
    let messages = parlor.messages_of(STAFF, &session).await;
    assert_eq!(
        (&messages[1]["status"], &messages[3]["status"]),
        (&json!("read"), &json!("read"))
    );
    let history = parlor.get(STAFF, "/api/xcx/chat/history").await;
    let item = &history.ok()["items"][0];
    assert_eq!(
        (&item["contextType"], &item["sessionId"]),
        (&json!("bot"), &json!(session))
    );
}

#[tokio::test]
async fn messages_of_a_session_get_replies_in_order_and_in_one_context() {
    let parlor = Parlor::start().await;
    let session = parlor.begin_session(COACH).await;
    let mut asked = Vec::new();
    for content in ["第一句", "第二句", "第三句"] {
        asked.push(json!(parlor.create_message(COACH, &session, content).await));
    }
    // A session of another user does not wait for them.
    let other = parlor.begin_session(STAFF).await;
    parlor.create_message(STAFF, &other, "别的会话").await;

    parlor.simulator.hold_after(0);
    let another_worker = parlor.worker.clone();
    let looking = async {
        parlor.simulator.held(2).await;
        // Another worker finds no job due.
        assert_eq!(another_worker.run(None).await.claimed, 0);
        assert_eq!(parlor.simulator.calls_count(), 2);
        parlor.simulator.release();
    };
    let (worked, ()) = futures_util::future::join(parlor.work(), looking).await;
    assert_eq!(worked.succeeded, 4);

    let messages = parlor.messages_of(COACH, &session).await;
    let answered: Vec<_> = messages[3..]
        .iter()
        .map(|reply| reply["reply_to"].clone())
        .collect();
    assert_eq!(answered, asked);
    let calls = parlor.simulator.calls();
    let of_this = calls.iter().filter(|call| {
        ["第一句", "第二句", "第三句"]
            .iter()
            .any(|content| call.prompt().ends_with(content))
    });
    let sessions: Vec<_> = of_this.map(RecordedCall::session_id).collect();
    assert_eq!(sessions.len(), 3);
    assert!(
        sessions[0].is_none() && sessions[1].is_some() && sessions[1] == sessions[2],
        "{sessions:?}"
    );
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn while_a_bot_replies_the_mini_program_gets_a_busy_error() {
    let parlor = Parlor::start().await;
    let session = parlor.begin_session(STAFF).await;
    parlor.create_message(STAFF, &session, "你好").await;
    let chat = chat_of(&parlor).await;
    parlor.simulator.hold_after(0);
    let meanwhile = async {
        parlor.simulator.held(1).await;
        let answer = parlor.send(STAFF, chat, "同时再问").await;
        answer.refused(409, "busy");
        // There is no message yet that could be resumed.
        assert_eq!(answer.body.get("messageId"), None);
        parlor.simulator.release();
    };
    futures_util::future::join(parlor.work(), meanwhile).await;
    parlor.send(STAFF, chat, "现在再问").await.ok();
    assert_eq!(parlor.messages_of(STAFF, &session).await.len(), 4);
}

#[tokio::test]
async fn a_bot_waits_for_a_stream_in_its_conversation() {
    let parlor = Parlor::start().await;
    let session = parlor.begin_session(STAFF).await;
    let chat = chat_of(&parlor).await;
    parlor.simulator.hold_after(1);
    let mut stream = parlor
        .stream(STAFF, chat, "[[sim:long:8]]在小程序里问")
        .await;
    stream.expect("start").await;
    stream.expect("message").await;
    parlor.create_message(STAFF, &session, "同时在别处问").await;
    assert_eq!(parlor.work().await.given_back, 1);
    let job = &parlor.jobs().await[0];
    assert_eq!(
        (&job["status"], &job["attempts"], &job["error_code"]),
        (&json!("pending"), &json!(0), &json!("busy"))
    );
    parlor.simulator.release();
    stream.rest().await;
    parlor.make_jobs_due().await;
    assert_eq!(parlor.work().await.succeeded, 1);
    let messages = parlor.messages_of(STAFF, &session).await;
    assert_eq!(messages.len(), 4);
    assert_eq!(messages[3]["reply_to"], messages[2]["id"]);
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn a_bot_without_an_agent_is_refused_in_the_mini_program() {
    let parlor = Parlor::start().await;
    parlor.begin_session(STAFF).await;
    let chat = chat_of(&parlor).await;
    parlor
        .execute("update biz.agents set deleted_at = now()")
        .await;
    let answer = parlor.send(STAFF, chat, "你好").await;
    answer.refused(409, "conflict");
    assert_eq!(parlor.simulator.calls_count(), 0);
    assert!(parlor.messages(STAFF, chat).await.is_empty());
}

#[tokio::test]
async fn an_expired_dashscope_session_is_dropped_even_without_a_reply() {
    let parlor = Parlor::start().await;
    let session = parlor.begin_session(COACH).await;
    parlor.create_message(COACH, &session, "你好").await;
    parlor.work().await;
    parlor.simulator.expire_sessions();
    parlor
        .create_message(COACH, &session, "[[sim:empty]]")
        .await;
    parlor.work().await;
    let kept: Option<String> = sqlx::query_scalar(
        "select dashscope_session_id from biz.ai_conversations where bot_id is not null",
    )
    .fetch_one(&parlor.db)
    .await
    .unwrap();
    assert_eq!(kept, None);
}
