//! The settings of database connections, also behind a proxy that rejects them at start-up.

use std::time::Duration;

use sqlx::Executor as _;
use tokio::{net::TcpListener, time::timeout};

use crate::harness::{
    events::{terminal, text},
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

#[tokio::test]
async fn the_connection_to_dashscope_is_opened_while_the_database_works() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = upstream.local_addr().unwrap();
    let (parlor, wire) = Parlor::wired(Setup {
        dashscope_url: Some(format!("http://{address}/api/v1")),
        ..Setup::default()
    })
    .await;
    parlor.get(COACH, HISTORY).await.ok();
    wire.delay_messages_with("begin_reply");
    let sending = parlor.send(COACH, 1, "今晚有什么要留意的？");
    let connected = async {
        timeout(Duration::from_mins(1), upstream.accept())
            .await
            .unwrap()
            .unwrap();
        until("the reply is being stored", async || {
            (wire.delayed() > 0).then_some(())
        })
        .await;
    };
    let (refused, ()) = tokio::join!(sending, connected);
    assert_eq!(refused.body["code"], "unavailable");
}

#[tokio::test]
async fn a_start_does_not_wait_for_checkpoints() {
    let parlor = Parlor::start_with(Setup {
        max_connections: 4,
        ..Setup::default()
    })
    .await;
    let mut streams = Vec::new();
    for n in 0..8 {
        let chat = parlor.open(COACH, &format!("{n}")).await;
        let content = format!("第 {n} 个回答，一个字也不能少。[[sim:echo]]");
        let (stream, events) = parlor.stream_held(COACH, chat, &content, 2).await;
        streams.push((chat, stream, events));
    }
    // All checkpoints wait for this session.
    let mut other = parlor.db.acquire().await.unwrap();
    other
        .execute("begin; select from biz.ai_messages where state = 'streaming' for no key update")
        .await
        .unwrap();
    for n in 8..11 {
        until("checkpoints have all their connections", async || {
            let waiting: i64 = sqlx::query_scalar(
                "select count(*) from pg_stat_activity
                 where datname = current_database() and wait_event_type = 'Lock'",
            )
            // Not in the open transaction, which sees the activity of its first look.
            .fetch_one(&parlor.db)
            .await
            .unwrap();
            (waiting >= 3).then_some(())
        })
        .await;
        let chat = parlor.open(COACH, &format!("{n}")).await;
        let content = format!("第 {n} 个回答，照常开始。[[sim:echo]]");
        let (stream, events) = parlor.stream_held(COACH, chat, &content, 2).await;
        streams.push((chat, stream, events));
    }
    other.execute("rollback").await.unwrap();
    parlor.simulator.release();
    for (chat, mut stream, mut events) in streams {
        events.extend(stream.rest().await);
        assert_eq!(terminal(&events).name, "done");
        let messages = parlor.messages(COACH, chat).await;
        assert_eq!(messages[1]["content"], messages[0]["content"]);
        assert_eq!(messages[1]["content"], text(&events));
    }
}
