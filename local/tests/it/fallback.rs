//! The fallback application is called once, with the history, if the circuit of the application is
//! open or if it throttles.

use serde_json::{Value, json};

use crate::harness::{
    invariants,
    parlor::{COACH, Parlor, Setup},
};

/// A member of site 1 with consumption.
const MEMBER: i64 = 10_001;

impl Parlor {
    async fn with_fallback() -> Self {
        let parlor = Self::with_business(Setup::default()).await;
        parlor
            .sql(
                "insert into biz.ai_apps (app_type, fallback_application_id) values
                 ('app1_chat', 'chat-fallback'), ('app3_clue', 'app3_clue-fallback')",
            )
            .await;
        parlor
    }

    fn application_does(&self, app_id: &str, scenario: &str) {
        self.simulator
            .set_scenario(Some(app_id), Some(scenario.parse().unwrap()));
    }

    /// The applications called since `from`.
    fn called_since(&self, from: usize) -> Vec<String> {
        let calls = self.simulator.calls();
        calls[from..]
            .iter()
            .map(|call| call.app_id.clone())
            .collect()
    }

    /// Opens a circuit that is due in `seconds`.
    async fn open_circuit_of(&self, app_id: &str, seconds: i32) {
        self.sql(&format!(
            "insert into biz.ai_circuits as k (app_id, app_type, state, failures, opened_at, retry_at)
             values ('{app_id}', 'app1_chat', 'open', 5, now(), now() + interval '{seconds} seconds')
             on conflict (app_id) do update set state = 'open', failures = 5, opened_at = now(),
                 retry_at = excluded.retry_at, probe_run_id = null"
        ))
        .await;
    }

    /// Consecutive failures of an application.
    async fn failures(&self, app_id: &str) -> i32 {
        sqlx::query_scalar(
            "select coalesce((select failures from biz.ai_circuits where app_id = $1), 0)",
        )
        .bind(app_id)
        .fetch_one(&self.db)
        .await
        .unwrap()
    }

    /// A conversation with two turns and a session of the application.
    async fn conversation(&self) -> i64 {
        let chat = self.open(COACH, "t").await;
        for content in ["第一问", "第二问"] {
            self.send(COACH, chat, content).await.ok();
        }
        assert!(self.last_call().session_id().is_some());
        chat
    }

    /// Asserts that the last call has the history with `text`, and no session.
    #[track_caller]
    fn assert_called_with_history(&self, app_id: &str, text: &str) {
        let call = self.last_call();
        assert_eq!((call.app_id.as_str(), call.session_id()), (app_id, None));
        assert!(call.prompt().contains(text), "{}", call.prompt());
    }
}

#[tokio::test]
async fn throttled_chat_is_answered_by_the_fallback() {
    let parlor = Parlor::with_fallback().await;
    let chat = parlor.conversation().await;
    parlor.application_does("app1_chat", "throttle");
    let before = parlor.simulator.calls_count();
    let events = parlor.stream_to_end(COACH, chat, "第三问").await;
    assert_eq!(events.last().unwrap().name, "done");
    // Throttling is not retried, because the fallback is called at once.
    assert_eq!(parlor.called_since(before), ["app1_chat", "chat-fallback"]);
    parlor.assert_called_with_history("chat-fallback", "第二问");
    let run = parlor.last_run().await;
    assert_eq!(
        (&run["app_id"], &run["status"], &run["attempts"]),
        (&json!("chat-fallback"), &json!("success"), &json!(2))
    );
    assert_eq!(parlor.failures("app1_chat").await, 1);
    assert_eq!(parlor.failures("chat-fallback").await, 0);

    // The session of the fallback is not continued. That of the application lacks a turn.
    parlor.simulator.set_scenario(Some("app1_chat"), None);
    parlor.send(COACH, chat, "第四问").await.ok();
    parlor.assert_called_with_history("app1_chat", "第三问");
    parlor.send(COACH, chat, "第五问").await.ok();
    let call = parlor.last_call();
    assert_eq!(call.app_id, "app1_chat");
    assert!(call.session_id().is_some());
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn open_circuit_sends_the_chat_to_the_fallback() {
    let parlor = Parlor::with_fallback().await;
    let chat = parlor.conversation().await;
    parlor.open_circuit_of("app1_chat", 60).await;
    let before = parlor.simulator.calls_count();
    for content in ["第三问", "第四问"] {
        let sent = parlor.send(COACH, chat, content).await;
        assert_eq!(sent.ok()["aiReply"]["status"], "complete");
        parlor.assert_called_with_history("chat-fallback", "第二问");
    }
    assert_eq!(
        parlor.called_since(before),
        ["chat-fallback", "chat-fallback"]
    );
    assert_eq!(parlor.last_run().await["app_id"], "chat-fallback");
    // When the circuit is due, the application is probed.
    parlor.open_circuit_of("app1_chat", 0).await;
    parlor.send(COACH, chat, "第五问").await.ok();
    parlor.assert_called_with_history("app1_chat", "第四问");
    assert_eq!(parlor.failures("app1_chat").await, 0);
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn fallback_is_called_once() {
    let parlor = Parlor::with_fallback().await;
    let chat = parlor.open(COACH, "t").await;
    for app_id in ["app1_chat", "chat-fallback"] {
        parlor.application_does(app_id, "throttle");
    }
    let sent = parlor.send(COACH, chat, "你好").await;
    assert_eq!(sent.ok()["aiReply"]["status"], "failed");
    // The fallback has no fallback, so its throttling is retried.
    let mut calls = vec!["app1_chat"];
    calls.extend(["chat-fallback"; 4]);
    assert_eq!(parlor.called_since(0), calls);
    for app_id in ["app1_chat", "chat-fallback"] {
        assert_eq!(parlor.failures(app_id).await, 1, "{app_id}");
    }
    // A fallback that is out of service is not called. Throttling is retried instead.
    parlor.open_circuit_of("chat-fallback", 60).await;
    parlor.send(COACH, chat, "你好").await.ok();
    assert_eq!(parlor.called_since(5), ["app1_chat"; 4]);
    assert_eq!(parlor.failures("app1_chat").await, 2);
    assert_eq!(parlor.last_run().await["app_id"], "app1_chat");
    parlor.open_circuit_of("app1_chat", 60).await;
    let refused = parlor.send(COACH, chat, "你好").await;
    refused.refused(503, "circuit_open");
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn application_that_keeps_throttling_is_no_longer_called() {
    let parlor = Parlor::with_fallback().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.application_does("app1_chat", "throttle");
    for _ in 0..6 {
        let sent = parlor.send(COACH, chat, "你好").await;
        assert_eq!(sent.ok()["aiReply"]["status"], "complete");
    }
    let calls = parlor.called_since(0);
    let called = |id: &str| calls.iter().filter(|app_id| *app_id == id).count();
    assert_eq!((called("app1_chat"), called("chat-fallback")), (5, 6));
}

#[tokio::test]
async fn bot_is_answered_by_the_fallback_of_its_agent() {
    let parlor = Parlor::start().await;
    parlor
        .sql("update biz.agents set app_id = 'the-bot', fallback_application_id = 'bot-fallback'")
        .await;
    let session = parlor.begin_session(COACH).await;
    parlor.create_message(COACH, &session, "第一问").await;
    assert_eq!(parlor.work().await.succeeded, 1);
    parlor.application_does("the-bot", "throttle");
    parlor.create_message(COACH, &session, "第二问").await;
    assert_eq!(parlor.work().await.succeeded, 1);
    assert_eq!(
        parlor.called_since(0),
        ["the-bot", "the-bot", "bot-fallback"]
    );
    parlor.assert_called_with_history("bot-fallback", "第一问");
    let run = parlor.last_run().await;
    assert_eq!(
        (&run["app_id"], &run["status"], &run["attempts"]),
        (&json!("bot-fallback"), &json!("success"), &json!(2))
    );

    parlor.open_circuit_of("the-bot", 60).await;
    parlor.create_message(COACH, &session, "第三问").await;
    assert_eq!(parlor.work().await.succeeded, 1);
    assert_eq!(parlor.called_since(3), ["bot-fallback"]);
    parlor.assert_called_with_history("bot-fallback", "第二问");

    parlor.simulator.set_scenario(Some("the-bot"), None);
    parlor.open_circuit_of("the-bot", 0).await;
    parlor.create_message(COACH, &session, "第四问").await;
    assert_eq!(parlor.work().await.succeeded, 1);
    parlor.assert_called_with_history("the-bot", "第三问");
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn job_is_answered_by_the_fallback() {
    let parlor = Parlor::with_fallback().await;
    parlor.application_does("app3_clue", "throttle");
    let job = parlor.member_paid(MEMBER, 1).await;
    parlor.work_until_done().await;
    assert_eq!(parlor.job(job).await["status"], "succeeded");
    let run = &parlor.runs(job).await[0];
    assert_eq!(
        (
            &run["app_type"],
            &run["app_id"],
            &run["status"],
            &run["attempts"]
        ),
        (
            &json!("app3_clue"),
            &json!("app3_clue-fallback"),
            &json!("success"),
            &json!(2)
        )
    );
    assert_eq!(
        parlor.called_since(0)[..2],
        ["app3_clue", "app3_clue-fallback"]
    );
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn job_waits_only_while_both_circuits_are_open() {
    let parlor = Parlor::with_fallback().await;
    parlor.open_circuit_of("app3_clue", 600).await;
    parlor.open_circuit_of("app3_clue-fallback", 300).await;
    let job = parlor.member_paid(MEMBER, 1).await;
    parlor.work().await;
    let waiting = parlor.job(job).await;
    assert_eq!(
        (
            &waiting["status"],
            &waiting["waits_for"],
            &waiting["waits_on"]
        ),
        (
            &json!("pending"),
            &json!("circuit"),
            &json!("app3_clue-fallback")
        )
    );
    assert_eq!(parlor.runs(job).await, Vec::<Value>::new());
    // The circuit of the fallback closes. The worker wakes the job.
    parlor
        .sql("delete from biz.ai_circuits where app_id = 'app3_clue-fallback'")
        .await;
    parlor.work().await;
    assert_eq!(parlor.runs(job).await[0]["app_id"], "app3_clue-fallback");
    assert_eq!(parlor.called_since(0)[0], "app3_clue-fallback");
}
