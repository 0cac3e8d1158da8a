//! The SQL functions: one definition each, next to the Rust code, and a schema for each build.

#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::{collections::BTreeSet, path::Path};

use common::{
    governance::runs::{RunEnd, make_partitions},
    platform::{
        db::{self, DatabaseConfig, MIGRATOR},
        functions::SCHEMA,
        migrations,
    },
};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, PgPool,
    postgres::PgConnectOptions,
};

use crate::harness::{
    database::TestDatabase,
    parlor::{COACH, Parlor},
};

#[path = "../../../common/build/function_script.rs"]
mod function_script;

/// The schema of another build.
pub const OLDER: &str = "parlor_0000000a";

fn sources() -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../common/src");
    function_script::sources(&directory).unwrap()
}

/// The names that follow `words` in a text.
fn named<'a>(text: &'a str, words: &str) -> Vec<&'a str> {
    let ends = |c: char| !(c.is_alphanumeric() || "_.".contains(c));
    let places = text.match_indices(words);
    places
        .map(|(at, _)| &text[at + words.len()..])
        .map(|rest| &rest[..rest.find(ends).unwrap_or(rest.len())])
        .collect()
}

#[test]
fn a_file_is_named_after_its_function_which_has_a_comment() {
    let all = sources();
    assert!(all.len() > 40);
    for (file, text) in &all {
        let kinds = ["create function ", "create view ", "create aggregate "];
        let names: BTreeSet<_> = kinds.iter().flat_map(|kind| named(text, kind)).collect();
        assert_eq!(names, BTreeSet::from([&**file]), "{file}.sql");
        let comments = ["function ", "view ", "aggregate "];
        assert!(
            comments
                .iter()
                .any(|kind| text.contains(&format!("comment on {kind}{file}"))),
            "{file}.sql has no comment"
        );
    }
}

#[test]
fn every_function_has_one_definition() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
    let migrations = function_script::sources(&directory).unwrap();
    let all: Vec<_> = sources().into_iter().chain(migrations).collect();
    let names = all
        .iter()
        .flat_map(|(_, text)| named(text, "create function "));
    let mut seen = BTreeSet::new();
    for name in names {
        assert!(seen.insert(name), "{name} has two definitions");
    }
    for (file, text) in &all {
        assert!(!text.contains("create or replace"), "{file}.sql");
    }
}

#[test]
fn a_function_has_at_most_twelve_parameters() {
    for (file, text) in sources() {
        let Some((_, rest)) = text.split_once("create function ") else {
            continue;
        };
        let head = rest.split_once("$$").map_or(rest, |(head, _)| head);
        let parameters = head
            .split(['(', ',', '\n'])
            .filter(|part| part.trim_start().starts_with("p_"))
            .count();
        assert!(parameters <= 12, "{file} has {parameters} parameters");
    }
}

#[tokio::test]
async fn the_end_of_a_run_is_the_same_in_sql_and_rust() {
    let database = TestDatabase::new().await;
    let fields: Vec<String> = sqlx::query_scalar(
        "select attname::text from pg_attribute where attrelid = to_regclass('run_end')",
    )
    .fetch_all(&database.pool().await)
    .await
    .unwrap();
    let end = serde_json::to_value(RunEnd::default()).unwrap();
    let ours: BTreeSet<_> = end.as_object().unwrap().keys().cloned().collect();
    assert_eq!(ours, fields.into_iter().collect());
}

/// A connection with the settings of another build.
async fn connect_as(schema: &str, url: &str) -> PgConnection {
    let options: PgConnectOptions = url.parse().unwrap();
    options
        .options([("search_path", format!("{schema},biz"))])
        .application_name(schema)
        .connect()
        .await
        .unwrap()
}

/// Loads the functions of another build, in which one function returns another text.
pub async fn load_older(pool: &PgPool) {
    let sources: Vec<_> = sources()
        .into_iter()
        .map(|(name, text)| match &*name {
            "no_reply" => (name, text.replacen("select '", "select 'older: ", 1)),
            _ => (name, text),
        })
        .collect();
    let script = function_script::script(OLDER, &sources);
    let mut connection = pool.acquire().await.unwrap();
    let mut tx = connection.begin().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(script))
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let names = [OLDER, "parlor_0000000b", "parlor_0000000c"];
    for (days, name) in names.into_iter().enumerate() {
        sqlx::query(
            "insert into biz.function_schemas (name, loaded_at)
             values ($1, clock_timestamp() - make_interval(days => 30 - $2))",
        )
        .bind(name)
        .bind(i32::try_from(days).unwrap())
        .execute(pool)
        .await
        .unwrap();
    }
}

pub async fn no_reply(connection: &mut PgConnection) -> String {
    sqlx::query_scalar("select no_reply()")
        .fetch_one(connection)
        .await
        .unwrap()
}

#[tokio::test]
async fn two_builds_share_a_database_until_the_older_is_retired() {
    let parlor = Parlor::start().await;
    let pool: &PgPool = &parlor.db;
    load_older(pool).await;
    let mut older = connect_as(OLDER, parlor.database.url()).await;
    let mut newer = connect_as(SCHEMA, parlor.database.url()).await;

    // Each build uses its own functions, and both use the same tables.
    let newer_text = no_reply(&mut newer).await;
    assert_eq!(no_reply(&mut older).await, format!("older: {newer_text}"));
    let open = "select open_conversation(1, 1001, 'task', 'shared', 0, 50)";
    let by_older: i64 = sqlx::query_scalar(open)
        .fetch_one(&mut older)
        .await
        .unwrap();
    let by_newer: i64 = sqlx::query_scalar(open)
        .fetch_one(&mut newer)
        .await
        .unwrap();
    assert_eq!(by_older, by_newer);
    let end = parlor.stream_to_end(COACH, by_older, "你好").await;
    assert_eq!(end.last().unwrap().name, "done");

    // The older build is not among the newest three, but a connection uses it.
    let drop = migrations::drop_unused_functions;
    let dropped = drop(&parlor.db).await.unwrap();
    assert_eq!(no_reply(&mut older).await, format!("older: {newer_text}"));
    older.close().await.unwrap();
    let gone = crate::harness::until("the older build's functions are dropped", async || {
        let dropped = drop(&parlor.db).await.unwrap();
        (dropped == 1).then_some(())
    });
    gone.await;
    assert_eq!(dropped, 0);
    let left: bool = sqlx::query_scalar("select to_regnamespace($1) is null")
        .bind(OLDER)
        .fetch_one(pool)
        .await
        .unwrap();
    assert!(left);
    assert_eq!(no_reply(&mut newer).await, newer_text);
}

#[tokio::test]
async fn a_build_without_its_functions_returns_a_clear_error() {
    let database = TestDatabase::empty().await;
    let pool = PgPool::connect(database.url()).await.unwrap();
    MIGRATOR.run(&pool).await.unwrap();
    let db = db::connect_lazy(&DatabaseConfig {
        url: secrecy::SecretString::from(database.url()).into(),
        max_connections: 1,
        behind_proxy: false,
    })
    .unwrap();
    let error = make_partitions(&db).await.unwrap_err().to_string();
    assert!(error.contains(SCHEMA), "{error}");
    assert!(error.contains("run db-migrate"), "{error}");
}
