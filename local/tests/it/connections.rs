//! The settings of database connections, also behind a proxy that rejects them at start-up.

use crate::harness::{
    parlor::{COACH, Parlor, Setup},
    until,
};

const HISTORY: &str = "/api/xcx/chat/history";

async fn behind_a_proxy_that_refuses_settings(behind_proxy: bool) -> Parlor {
    let (parlor, wire) = Parlor::wired(Setup {
        behind_proxy,
        ..Setup::default()
    })
    .await;
    wire.refuse_settings();
    parlor
}

/// Statements and idle transactions have timeouts, and plans are generic.
pub async fn assert_settings(parlor: &Parlor) {
    let set: Vec<String> = sqlx::query_scalar(
        "select setting || coalesce(unit, '') from pg_settings
         where name in ('statement_timeout', 'idle_in_transaction_session_timeout', 'plan_cache_mode') order by name",
    )
    .fetch_all(&parlor.tools.db)
    .await
    .unwrap();
    assert_eq!(set, ["10000ms", "force_generic_plan", "5000ms"]);
}

#[tokio::test]
async fn a_connection_starts_with_its_settings() {
    assert_settings(&Parlor::start().await).await;
}

#[tokio::test]
async fn behind_a_proxy_settings_are_sent_as_a_statement() {
    let parlor = behind_a_proxy_that_refuses_settings(true).await;
    parlor.get(COACH, HISTORY).await.ok();
    assert_settings(&parlor).await;
}

#[tokio::test]
async fn an_undeclared_proxy_is_a_503() {
    let parlor = behind_a_proxy_that_refuses_settings(false).await;
    let answer = parlor.get(COACH, HISTORY).await;
    answer.refused_at(HISTORY, 503, "unavailable");
}

/// Otherwise a process that is short of time would open connections again and again without getting
/// one.
#[tokio::test]
async fn a_connection_is_completed_after_its_caller_has_timed_out() {
    let (parlor, wire) = Parlor::wired(Setup::default()).await;
    wire.delay_messages_with("application_name");
    let answer = parlor.get(COACH, HISTORY).await;
    answer.refused_at(HISTORY, 503, "unavailable");
    assert_eq!((wire.connections(), parlor.tools.db.num_idle()), (1, 0));
    wire.clear_rules();
    until("the connection is idle in the pool", async || {
        (parlor.tools.db.num_idle() == 1).then_some(())
    })
    .await;
    assert_eq!(wire.connections(), 1);
    parlor.get(COACH, HISTORY).await.ok();
}
