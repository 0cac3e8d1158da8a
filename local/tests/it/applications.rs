//! Which DashScope application an app calls at a site, and with which options (`biz.ai_apps`).

use futures_util::future::join_all;
use local::simulator::RecordedCall;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor as _};

use crate::harness::{
    events::EventStream,
    invariants,
    jobs::SITE_ADMIN,
    parlor::{COACH, OTHER_SITE, Parlor, Setup},
};

/// A member of site 1 with consumption.
const MEMBER: i64 = 10_001;

impl Parlor {
    pub async fn sql(&self, statement: &str) {
        self.db
            .execute(AssertSqlSafe(statement.to_owned()))
            .await
            .unwrap();
    }

    pub fn last_call(&self) -> RecordedCall {
        self.simulator.calls().pop().unwrap()
    }

    /// Sends a message in a new conversation. Returns the call of DashScope.
    async fn call_of(&self, user: i64) -> RecordedCall {
        let chat = self
            .open(user, &format!("t{}", self.simulator.calls_count()))
            .await;
        self.send(user, chat, "你好").await.ok();
        self.last_call()
    }
}

#[tokio::test]
async fn columns_apply_from_the_site_then_the_default_row_then_the_environment() {
    let parlor = Parlor::start().await;
    assert_eq!(parlor.call_of(COACH).await.app_id, "app1_chat");
    parlor
        .sql(
            "insert into biz.ai_apps (site_id, app_type, application_id, has_thoughts) values
             (null, 'app1_chat', 'for-all', true), (1, 'app1_chat', null, null),
             (1, 'app3_clue', 'not-the-chat', false)",
        )
        .await;
    for user in [COACH, OTHER_SITE] {
        let call = parlor.call_of(user).await;
        assert_eq!(call.app_id, "for-all");
        assert_eq!(call.body["parameters"]["has_thoughts"], true);
    }
    // A change applies to the next message.
    parlor
        .sql("update biz.ai_apps set application_id = 'for-site-1' where site_id = 1 and app_type = 'app1_chat'")
        .await;
    let call = parlor.call_of(COACH).await;
    assert_eq!(
        (
            call.app_id.as_str(),
            &call.body["parameters"]["has_thoughts"]
        ),
        ("for-site-1", &json!(true))
    );
    assert_eq!(parlor.last_run().await["app_id"], "for-site-1");
    assert_eq!(parlor.call_of(OTHER_SITE).await.app_id, "for-all");
}

#[tokio::test]
async fn options_are_sent_for_their_site_only() {
    let parlor = Parlor::start().await;
    let rag = r#"{"pipeline_ids": ["p1"], "metadata_filter": {"shop": null}}"#;
    parlor
        .sql(&format!(
            "insert into biz.ai_apps (site_id, app_type, rag_options, flow_stream_mode, has_thoughts)
             values (1, 'app1_chat', '{rag}', 'message_format', true)"
        ))
        .await;
    let chat = parlor.open(COACH, "t").await;
    let events = parlor.stream_to_end(COACH, chat, "你好").await;
    assert_eq!(events.last().unwrap().name, "done");
    assert_eq!(
        parlor.last_call().body["parameters"],
        json!({
            "incremental_output": true,
            "rag_options": { "pipeline_ids": ["p1"], "metadata_filter": { "shop": null } },
            "flow_stream_mode": "message_format",
            "has_thoughts": true,
        })
    );
    let chat = parlor.open(OTHER_SITE, "t").await;
    parlor.stream_to_end(OTHER_SITE, chat, "你好").await;
    let plain = json!({ "incremental_output": true });
    assert_eq!(parlor.last_call().body["parameters"], plain);

    // The application of a bot is another one.
    let session = parlor.begin_session(COACH).await;
    parlor.create_message(COACH, &session, "你好").await;
    parlor.work().await;
    assert_eq!(parlor.last_call().body["parameters"], json!({}));
}

#[tokio::test]
async fn first_text_has_a_limit_for_each_application() {
    let parlor = Parlor::start().await;
    parlor
        .sql("insert into biz.ai_apps (site_id, app_type, first_token_seconds) values (1, 'app1_chat', 1)")
        .await;
    parlor
        .simulator
        .set_scenario(None, Some("gate:0".parse().unwrap()));
    let other = parlor.open(OTHER_SITE, "t").await;
    let mut patient: EventStream = parlor.stream(OTHER_SITE, other, "你好").await;
    parlor.simulator.held(1).await;
    let chat = parlor.open(COACH, "t").await;
    let events = parlor.stream_to_end(COACH, chat, "你好").await;
    assert_eq!(events.last().unwrap().data["code"], "upstream_timeout");
    parlor.simulator.release();
    assert_eq!(patient.rest().await.last().unwrap().name, "done");
}

#[tokio::test]
async fn a_disabled_chat_is_unavailable_and_stores_nothing() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor
        .sql(
            "insert into biz.ai_apps (site_id, app_type, application_id, enabled)
             values (1, 'app1_chat', 'for-site-1', false)",
        )
        .await;
    let refused = parlor.send(COACH, chat, "你好").await;
    refused.refused(503, "unavailable");
    let body = json!({ "chatId": chat, "content": "你好" });
    let refused = parlor.post(COACH, "/api/xcx/chat/stream", &body).await;
    refused.refused(503, "unavailable");
    assert_eq!(parlor.messages(COACH, chat).await, Vec::<Value>::new());
    assert_eq!(parlor.simulator.calls_count(), 0);
    // Other sites and bots are not affected.
    assert_eq!(parlor.call_of(OTHER_SITE).await.app_id, "app1_chat");
    let session = parlor.begin_session(COACH).await;
    parlor.create_message(COACH, &session, "你好").await;
    assert_eq!(parlor.work().await.succeeded, 1);

    parlor
        .sql("update biz.ai_apps set enabled = null; insert into biz.ai_apps (app_type, enabled) values ('app1_chat', false)")
        .await;
    for user in [COACH, OTHER_SITE] {
        let chat = parlor.open(user, "u").await;
        parlor
            .send(user, chat, "你好")
            .await
            .refused(503, "unavailable");
    }
    parlor
        .sql("update biz.ai_apps set enabled = true where site_id = 1")
        .await;
    assert_eq!(parlor.call_of(COACH).await.app_id, "for-site-1");
}

#[tokio::test]
async fn a_disabled_app_fails_only_its_own_jobs() {
    let parlor = Parlor::with_business(Setup::default()).await;
    parlor
        .sql(
            "insert into biz.ai_apps (site_id, app_type, application_id, enabled) values
             (1, 'app3_clue', 'app3_clue-of-site-1', null), (1, 'app8_clue_consolidated', null, false)",
        )
        .await;
    let job = parlor.member_paid(MEMBER, 1).await;
    parlor.work().await;
    let failed = parlor.job(job).await;
    assert_eq!(
        (&failed["error_code"], &failed["step"]),
        (&json!("app_disabled"), &json!(1))
    );
    let message = failed["error_message"].as_str().unwrap();
    assert!(
        message.starts_with("app8_clue_consolidated is disabled"),
        "{message}"
    );
    let runs = parlor.runs(job).await;
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0]["app_id"], "app3_clue-of-site-1");
    // Enabled again, a retry continues.
    parlor
        .sql("update biz.ai_apps set enabled = true where app_type = 'app8_clue_consolidated'")
        .await;
    let path = format!("/api/admin/ai/trigger-jobs/{job}/retry");
    let retry = parlor.post(SITE_ADMIN, &path, &json!({})).await;
    assert!(retry.status.is_success(), "{}", retry.body);
    parlor.work_until_done().await;
    let id = retry.body["id"].as_i64().unwrap();
    assert_eq!(parlor.job(id).await["status"], "succeeded");
}

/// Makes the last second of an application full for `seconds` more.
async fn use_up_calls(parlor: &Parlor, app_id: &str, seconds: i32) {
    parlor
        .sql(&format!(
            "insert into biz.ai_app_calls (app_id, called_at) values
             ('{app_id}', array_fill(now() + interval '{seconds} seconds', array[100]))"
        ))
        .await;
}

#[tokio::test]
async fn no_second_has_more_calls_than_its_application_may_have() {
    const MOST: usize = 5;
    let parlor = Parlor::start().await;
    parlor
        .sql("insert into biz.ai_apps (app_type, max_per_second) values ('app1_chat', 5)")
        .await;
    let mut chats = Vec::new();
    for number in 0..50 {
        chats.push(parlor.open(COACH, &format!("t{number}")).await);
    }
    let sends = chats.iter().map(|chat| parlor.send(COACH, *chat, "你好"));
    let mut answered = 0;
    for answer in join_all(sends).await {
        match answer.status.as_u16() {
            200 => answered += 1,
            // On a busy machine, a statement may time out.
            503 => _ = answer.refused(503, "unavailable"),
            _ => {
                let seconds = answer.refused(429, "rate_limited")["retryAfter"].as_i64();
                assert_eq!(seconds, Some(1));
                assert_eq!(answer.headers["retry-after"], "1");
            }
        }
    }
    assert!((MOST..50).contains(&answered), "{answered}");
    assert_eq!(parlor.simulator.calls_count(), answered);
    let called_at: Vec<chrono::DateTime<chrono::Utc>> =
        sqlx::query_scalar("select called_at from biz.ai_app_calls")
            .fetch_one(&parlor.db)
            .await
            .unwrap();
    assert_eq!(called_at.len(), answered);
    for calls in called_at.windows(MOST + 1) {
        let span = calls[0] - calls[MOST];
        assert!(span >= chrono::TimeDelta::seconds(1), "{called_at:?}");
    }
    // A refusal is not a run.
    let runs: i64 = sqlx::query_scalar("select count(*) from biz.ai_run_logs")
        .fetch_one(&parlor.db)
        .await
        .unwrap();
    assert_eq!(usize::try_from(runs).unwrap(), answered);
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn calls_of_one_application_do_not_limit_another() {
    let parlor = Parlor::start().await;
    parlor
        .sql(
            "insert into biz.ai_apps (site_id, app_type, application_id) values (2, 'app1_chat', 'for-site-2');
             update biz.agents set app_id = 'the-bot'",
        )
        .await;
    use_up_calls(&parlor, "app1_chat", 30).await;
    let chat = parlor.open(COACH, "t").await;
    let refused = parlor.send(COACH, chat, "你好").await;
    let seconds = refused.refused(429, "rate_limited")["retryAfter"].as_i64();
    assert!((25..=31).contains(&seconds.unwrap()), "{}", refused.body);
    assert_eq!(parlor.call_of(OTHER_SITE).await.app_id, "for-site-2");
    let session = parlor.begin_session(COACH).await;
    parlor.create_message(COACH, &session, "你好").await;
    assert_eq!(parlor.work().await.succeeded, 1);
    assert_eq!(parlor.last_call().app_id, "the-bot");
}

#[tokio::test]
async fn a_job_waits_for_its_application_without_using_a_try() {
    let parlor = Parlor::with_business(Setup::default()).await;
    parlor.sql("update biz.agents set app_id = 'the-bot'").await;
    use_up_calls(&parlor, "app3_clue", 30).await;
    use_up_calls(&parlor, "the-bot", 30).await;
    let job = parlor.member_paid(MEMBER, 1).await;
    let session = parlor.begin_session(COACH).await;
    parlor.create_message(COACH, &session, "你好").await;
    parlor.work().await;
    let waiting: Vec<(i64, String, Option<String>, i32, bool)> = sqlx::query_as(
        "select id, status::text, waits_for::text, attempts,
                run_after between now() + interval '20 seconds' and now() + interval '37 seconds'
         from biz.ai_trigger_jobs order by id",
    )
    .fetch_all(&parlor.db)
    .await
    .unwrap();
    let state = ("pending".to_owned(), Some("retry".to_owned()), 0, true);
    for (_, status, waits_for, attempts, later) in waiting {
        assert_eq!((status, waits_for, attempts, later), state);
    }
    assert_eq!(parlor.runs(job).await, Vec::<Value>::new());
    assert_eq!(parlor.simulator.calls_count(), 0);
    parlor.sql("delete from biz.ai_app_calls").await;
    parlor.work_until_done().await;
    assert_eq!(parlor.job(job).await["status"], "succeeded");
    invariants::check_books(&parlor).await;
}
