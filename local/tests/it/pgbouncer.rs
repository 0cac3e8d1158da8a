//! Parlor behind a real `PgBouncer` in session mode.

#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::{collections::BTreeSet, sync::Arc};

use common::platform::functions::SCHEMA;
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, postgres::PgConnectOptions,
};

use crate::{
    connections::assert_settings,
    functions::{OLDER, load_older, no_reply},
    harness::{
        database::TestDatabase,
        parlor::{COACH, Parlor, Setup},
        pgbouncer::PgBouncer,
        until,
    },
};

const HISTORY: &str = "/api/xcx/chat/history";

/// Parlor behind `PgBouncer`, with at most `connections` from Parlor and as many to PostgreSQL.
async fn behind_pgbouncer(connections: u32, behind_proxy: bool) -> Option<(Parlor, PgBouncer)> {
    let database = Arc::new(TestDatabase::new().await);
    let bouncer = PgBouncer::before(database.url(), connections).await?;
    let parlor = Parlor::start_with(Setup {
        database_url: Some(bouncer.url.clone()),
        database: Some(database),
        max_connections: connections,
        behind_proxy,
        ..Setup::default()
    })
    .await;
    Some((parlor, bouncer))
}

/// A connection as the older build makes it behind a proxy.
async fn connect_as_older(url: &str) -> PgConnection {
    let options: PgConnectOptions = url.parse().unwrap();
    let mut connection = options
        .application_name(OLDER)
        .extra_float_digits(None)
        .connect()
        .await
        .unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("set search_path = {OLDER}, biz")))
        .execute(&mut connection)
        .await
        .unwrap();
    connection
}

/// The builds whose connections PostgreSQL shows. The sweep keeps their functions.
async fn build_names(parlor: &Parlor) -> Vec<String> {
    sqlx::query_scalar(
        "select application_name from pg_stat_activity
         where datname = current_database() and application_name like 'parlor\\_%'",
    )
    .fetch_all(&parlor.db)
    .await
    .unwrap()
}

async fn server_process(connection: &mut PgConnection) -> i32 {
    sqlx::query_scalar("select pg_backend_pid()")
        .fetch_one(connection)
        .await
        .unwrap()
}

#[tokio::test]
async fn behind_pgbouncer_a_reply_is_streamed_to_its_end() {
    let Some((parlor, _bouncer)) = behind_pgbouncer(8, true).await else {
        return;
    };
    let chat = parlor.open(COACH, "7").await;
    for content in ["你好", "再见"] {
        let events = parlor.stream_to_end(COACH, chat, content).await;
        assert_eq!(events.last().unwrap().name, "done");
    }
    assert_eq!(parlor.messages(COACH, chat).await.len(), 4);
    assert_settings(&parlor).await;
}

#[tokio::test]
async fn behind_pgbouncer_a_statement_is_prepared_once_for_each_connection() {
    let Some((parlor, _bouncer)) = behind_pgbouncer(1, true).await else {
        return;
    };
    for _ in 0..3 {
        parlor.get(COACH, HISTORY).await.ok();
    }
    let statements: Vec<(String, i64)> = sqlx::query_as(
        "select statement, generic_plans + custom_plans from pg_prepared_statements
         where statement not like '%pg_prepared_statements%'",
    )
    .fetch_all(&parlor.tools.db)
    .await
    .unwrap();
    let texts: BTreeSet<_> = statements.iter().map(|(text, _)| text).collect();
    assert_eq!(texts.len(), statements.len(), "{statements:?}");
    assert!(
        statements.iter().any(|(_, calls)| *calls == 3),
        "{statements:?}"
    );
}

/// `DATABASE_BEHIND_PROXY` is needed: without it the settings are sent at the start of a
/// connection.
#[tokio::test]
async fn pgbouncer_refuses_settings_in_the_startup_message() {
    let Some((parlor, bouncer)) = behind_pgbouncer(1, false).await else {
        return;
    };
    let answer = parlor.get(COACH, HISTORY).await;
    answer.refused_at(HISTORY, 503, "unavailable");
    until("PgBouncer logs the refusal", async || {
        let log = bouncer.log();
        log.contains("unsupported startup parameter").then_some(())
    })
    .await;
}

#[tokio::test]
async fn two_builds_share_one_server_connection_of_pgbouncer() {
    let Some((parlor, bouncer)) = behind_pgbouncer(1, true).await else {
        return;
    };
    load_older(&parlor.db).await;
    let chat = parlor.open(COACH, "7").await;
    let mut newer = parlor.tools.db.acquire().await.unwrap();
    let server = server_process(&mut newer).await;
    let text = no_reply(&mut newer).await;
    // Closed, because PgBouncer has one connection to PostgreSQL for both builds.
    newer.close().await.unwrap();

    for content in ["你好", "再见"] {
        let mut older = connect_as_older(&bouncer.url).await;
        assert_eq!(server_process(&mut older).await, server);
        assert_eq!(no_reply(&mut older).await, format!("older: {text}"));
        assert_eq!(build_names(&parlor).await, [OLDER]);
        older.close().await.unwrap();
        until("the idle connection belongs to no build", async || {
            build_names(&parlor).await.is_empty().then_some(())
        })
        .await;

        let events = parlor.stream_to_end(COACH, chat, content).await;
        assert_eq!(events.last().unwrap().name, "done");
        parlor.settled().await;
        let mut newer = parlor.tools.db.acquire().await.unwrap();
        assert_eq!(server_process(&mut newer).await, server);
        assert_eq!(no_reply(&mut newer).await, text);
        assert_eq!(build_names(&parlor).await, [SCHEMA]);
        newer.close().await.unwrap();
    }
}
