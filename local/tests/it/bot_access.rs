//! Access to a bot is checked for each message and before each reply, not only for a new session.

use crate::harness::{
    invariants,
    parlor::{Answer, COACH, Parlor},
    sessions::{BOT, GRANTED, MANAGER},
};

const DISABLE: &str = "update biz.bots set status = 'disabled'";
const REVOKE: &str = "delete from biz.bot_grants";

/// Asserts a refusal of the session API.
#[track_caller]
fn is_refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!(
        (answer.status.as_u16(), answer.body["code"].as_str()),
        (status, Some(code))
    );
}

async fn chat_of_session(parlor: &Parlor) -> i64 {
    sqlx::query_scalar("select id from biz.ai_conversations where bot_id is not null")
        .fetch_one(&parlor.db)
        .await
        .unwrap()
}

/// Status and error code of the newest job.
async fn newest_job(parlor: &Parlor) -> (String, Option<String>) {
    sqlx::query_as("select status, error_code from biz.ai_trigger_jobs order by id desc limit 1")
        .fetch_one(&parlor.db)
        .await
        .unwrap()
}

#[tokio::test]
async fn old_session_with_disabled_bot_accepts_no_message() {
    let parlor = Parlor::start().await;
    let session = parlor.begin_session_with(COACH, BOT).await;
    let chat = chat_of_session(&parlor).await;
    parlor.execute(DISABLE).await;
    let refused = parlor.post_message(COACH, &session, "你好").await;
    is_refused(&refused, 409, "conflict");
    parlor
        .send(COACH, chat, "你好")
        .await
        .refused(409, "conflict");
    assert_eq!(parlor.simulator.calls_count(), 0);
}

#[tokio::test]
async fn old_session_with_revoked_grant_accepts_no_message() {
    let parlor = Parlor::start().await;
    let session = parlor.begin_session_with(MANAGER, GRANTED).await;
    let chat = chat_of_session(&parlor).await;
    parlor.execute(REVOKE).await;
    let refused = parlor.post_message(MANAGER, &session, "你好").await;
    is_refused(&refused, 403, "not_granted");
    let refused = parlor.send(MANAGER, chat, "你好").await;
    refused.refused(403, "not_granted");
    assert_eq!(parlor.simulator.calls_count(), 0);
}

#[tokio::test]
async fn waiting_reply_fails_when_access_is_lost() {
    let cases = [
        (DISABLE, "bot_disabled"),
        (REVOKE, "not_granted"),
        (
            "update biz.users set status = 'disabled' where id = 1003",
            "user_disabled",
        ),
    ];
    for (change, code) in cases {
        let parlor = Parlor::start().await;
        let session = parlor.begin_session_with(MANAGER, GRANTED).await;
        parlor.create_message(MANAGER, &session, "你好").await;
        parlor.execute(change).await;
        assert_eq!(parlor.work().await.failed, 1, "{code}");
        let expected = ("failed".to_owned(), Some(code.to_owned()));
        assert_eq!(newest_job(&parlor).await, expected);
        assert_eq!(parlor.simulator.calls_count(), 0, "{code}");
        invariants::check_books(&parlor).await;
    }
}
