//! The end of a reply is stored even if PostgreSQL fails for a while, whatever the error.

use serde_json::json;

use crate::harness::{
    events::{terminal, text},
    invariants,
    parlor::{COACH, Parlor},
};

/// Makes the first two ends of a reply fail with an SQLSTATE. A sequence counts them, because it is
/// not rolled back.
async fn fail_twice(parlor: &Parlor, state: &str) {
    let script = format!(
        "create sequence biz.failures;
         create function biz.fail_end() returns trigger language plpgsql as $$
         begin
             if nextval('biz.failures') <= 2 then
                 raise exception 'disk' using errcode = '{state}';
             end if;
             return new;
         end $$;
         create trigger fail_end before update on biz.ai_messages for each row
         when (old.state = 'streaming' and new.state <> 'streaming')
         execute function biz.fail_end()"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(script))
        .execute(&parlor.db)
        .await
        .unwrap();
}

#[tokio::test]
async fn end_of_a_reply_is_retried_after_errors_that_may_pass() {
    // An I/O error, an internal error, and an error that a function raises.
    for state in ["58030", "XX000", "P0001"] {
        let parlor = Parlor::start().await;
        let chat = parlor.open(COACH, "t").await;
        fail_twice(&parlor, state).await;
        let events = parlor.stream_to_end(COACH, chat, "你好").await;
        assert_eq!(terminal(&events).name, "done", "{state}");
        let reply = &parlor.messages(COACH, chat).await[1];
        assert_eq!(reply["content"], json!(text(&events)), "{state}");
        assert_eq!(reply["status"], "complete", "{state}");
        invariants::check_books(&parlor).await;
    }
}

#[tokio::test]
async fn end_of_a_reply_is_not_retried_after_an_error_in_its_data() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    fail_twice(&parlor, "22001").await;
    let events = parlor.stream_to_end(COACH, chat, "你好").await;
    assert_eq!(terminal(&events).data["code"], "unavailable");
    let attempts: i64 = sqlx::query_scalar("select last_value from biz.failures")
        .fetch_one(&parlor.db)
        .await
        .unwrap();
    assert_eq!(attempts, 1);
}
