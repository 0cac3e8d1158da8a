//! NUL characters in the responses of DashScope. PostgreSQL refuses them in `text` and `jsonb`, so
//! the end of a run could not be stored with them.

#![expect(clippy::unwrap_used, reason = "test helpers")]

use serde_json::{Value, json};

use crate::harness::{
    events::terminal,
    invariants,
    jobs::column,
    parlor::{COACH, Parlor, Setup},
};

/// Checks that the run failed and that the texts of DashScope are stored without NUL.
#[track_caller]
fn assert_failed(run: &Value, scenario: &str) {
    assert_eq!(run["status"], "failed", "{scenario}: {run}");
    let message = run["error_message"].as_str().unwrap();
    assert!(message.contains("please try again later."), "{message}");
    // A UUID, without the NUL after it.
    let id = run["upstream_request_id"].as_str().unwrap();
    assert_eq!(id.len(), 36, "{scenario}: {id:?}");
}

#[tokio::test]
async fn a_reply_that_fails_with_nul_in_its_error_is_stored() {
    for (scenario, status) in [
        ("nul+unavailable", "failed"),
        ("nul+fail-first", "failed"),
        ("nul+fail-mid", "interrupted"),
    ] {
        let parlor = Parlor::start().await;
        let chat = parlor.open(COACH, "t").await;
        let content = format!("[[sim:{scenario}]]你好");
        let events = parlor.stream_to_end(COACH, chat, &content).await;
        assert_eq!(terminal(&events).name, "error", "{scenario}");
        assert_failed(&parlor.last_run().await, scenario);
        let messages = parlor.messages(COACH, chat).await;
        assert_eq!(messages[1]["status"], status, "{scenario}");
        invariants::check(&parlor, COACH, chat).await;
    }
}

#[tokio::test]
async fn a_session_id_with_nul_is_not_used() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    for content in ["[[sim:nul]]你好", "还在吗"] {
        let events = parlor.stream_to_end(COACH, chat, content).await;
        assert_eq!(terminal(&events).name, "done");
    }
    let calls = parlor.simulator.calls();
    assert_eq!(calls.len(), 2);
    // The history is sent instead of a session.
    assert_eq!(calls[1].session_id(), None);
    assert!(calls[1].prompt().contains("你好"));
}

#[tokio::test]
async fn a_bots_reply_that_fails_with_nul_in_its_error_is_stored() {
    let parlor = Parlor::start().await;
    let session = parlor.begin_session(COACH).await;
    let scenario = "nul+unavailable";
    let content = format!("[[sim:{scenario}]]你好");
    parlor.create_message(COACH, &session, &content).await;
    parlor.work().await;
    assert_failed(&parlor.last_run().await, scenario);
}

#[tokio::test]
async fn a_jobs_call_that_fails_with_nul_in_its_error_is_stored() {
    let parlor = Parlor::with_business(Setup::default()).await;
    let scenario = "nul+unavailable";
    parlor
        .simulator
        .set_scenario(Some("app8_clue_consolidated"), scenario.parse().ok());
    let job = parlor.member_paid(10_001, 1).await;
    parlor.work().await;
    let runs = parlor.runs(job).await;
    assert_eq!(column(&runs, "status"), ["success", "failed"]);
    assert_failed(&runs[1], scenario);
    let job = parlor.job(job).await;
    assert_eq!(job["status"], json!("pending"), "{job}");
    invariants::check_books(&parlor).await;
}
