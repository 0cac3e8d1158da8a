//! `db-migrate` as a deployment has it: asked by `CloudFormation`, which is told how it went.

#![expect(clippy::unwrap_used, reason = "tests, and what they share")]

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
};
use local::emulator::{Emulator, Outcome};
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::harness::{
    cloud::{recorded, specs},
    database::TestDatabase,
    parlor::{Parlor, serve},
    until,
};

/// What `CloudFormation` waits at: it answers these statuses one after the other, then 200.
struct Told {
    url: String,
    heard: Arc<Mutex<Vec<Heard>>>,
}

struct Heard {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Value,
}

type Script = (Arc<Mutex<Vec<Heard>>>, Arc<Mutex<VecDeque<u16>>>);

impl Told {
    async fn start(statuses: &[u16]) -> Self {
        let heard = Arc::default();
        let script = Arc::new(Mutex::new(statuses.iter().copied().collect()));
        let app = Router::new()
            .fallback(hear)
            .with_state((Arc::clone(&heard), script));
        let url = serve(app).await;
        Self { url, heard }
    }

    /// A recorded event that leads here.
    fn event(&self, name: &str) -> Value {
        let mut event = recorded(name);
        event["ResponseURL"] = format!("{}/response?X-Amz-Signature=hunter2", self.url).into();
        event
    }

    fn times(&self) -> usize {
        self.heard.lock().unwrap().len()
    }

    /// The last that was heard, which is about the event.
    fn last(&self, event: &Value) -> Value {
        let heard = self.heard.lock().unwrap();
        let heard = heard.last().unwrap();
        assert_eq!(heard.method, Method::PUT);
        assert_eq!(heard.uri, "/response?X-Amz-Signature=hunter2");
        assert_eq!(heard.headers["content-type"], "");
        assert!(heard.headers.contains_key("content-length"));
        for name in ["StackId", "RequestId", "LogicalResourceId"] {
            assert_eq!(heard.body[name], event[name], "{name}");
        }
        assert_eq!(heard.body["PhysicalResourceId"], "schema");
        heard.body.clone()
    }
}

async fn hear(
    State((heard, script)): State<Script>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> StatusCode {
    heard.lock().unwrap().push(Heard {
        method,
        uri,
        headers,
        body: serde_json::from_str(&body).unwrap(),
    });
    let status = script.lock().unwrap().pop_front().unwrap_or(200);
    StatusCode::from_u16(status).unwrap()
}

/// A `db-migrate` that is given these variables beside or instead of its own.
async fn migrate_with(timeout: Duration, variables: &[(&str, &str)]) -> Emulator {
    let parlor = Parlor::start().await;
    let mut specs = specs(&parlor).await;
    specs.retain(|spec| spec.name == "db-migrate");
    specs[0].timeout = timeout;
    for (name, value) in variables {
        specs[0].env.retain(|(other, _)| other != name);
        specs[0].env.push(((*name).to_owned(), (*value).to_owned()));
    }
    Emulator::start(specs).unwrap()
}

async fn migrate_on(database: &TestDatabase) -> Emulator {
    migrate_with(
        Duration::from_secs(300),
        &[("DATABASE_URL", database.url())],
    )
    .await
}

async fn done(emulator: &Emulator, event: &Value) -> Value {
    let outcome = emulator.invoke("db-migrate", event).await.unwrap();
    let Outcome::Response(report) = outcome else {
        panic!("{outcome:?}")
    };
    serde_json::from_slice(&report).unwrap()
}

fn migrations() -> usize {
    common::platform::db::MIGRATOR.iter().count()
}

fn newest() -> i64 {
    let versions = common::platform::db::MIGRATOR
        .iter()
        .map(|migration| migration.version);
    versions.max().unwrap()
}

async fn count(database: &TestDatabase, query: &'static str) -> i64 {
    let pool = database.pool().await;
    sqlx::query_scalar(query).fetch_one(&pool).await.unwrap()
}

const TABLES: &str = "select count(*) from pg_tables where schemaname = 'biz'";

#[tokio::test]
async fn a_stack_is_created_updated_and_deleted() {
    let (database, stack) = (TestDatabase::empty().await, Told::start(&[]).await);
    let emulator = migrate_on(&database).await;

    let create = stack.event("stack-create");
    assert_eq!(done(&emulator, &create).await["applied"], migrations());
    let told = stack.last(&create);
    assert_eq!(told["Status"], "SUCCESS");
    let data = json!({ "Applied": migrations(), "Version": newest() });
    assert_eq!(told["Data"], data);

    let update = stack.event("stack-update");
    done(&emulator, &update).await;
    let told = stack.last(&update);
    assert_eq!(told["Status"], "SUCCESS");
    assert_eq!(told["Data"], json!({ "Applied": 0, "Version": newest() }));

    let tables = count(&database, TABLES).await;
    assert!(tables > 0);
    let delete = stack.event("stack-delete");
    assert_eq!(done(&emulator, &delete).await, Value::Null);
    let told = stack.last(&delete);
    assert_eq!(
        (&told["Status"], &told["Data"]),
        (&json!("SUCCESS"), &Value::Null)
    );
    assert_eq!(count(&database, TABLES).await, tables);
    assert_eq!(stack.times(), 3);
}

#[tokio::test]
async fn a_resource_that_cloudformation_named_itself_keeps_its_name() {
    let (database, stack) = (TestDatabase::empty().await, Told::start(&[]).await);
    let mut delete = stack.event("stack-delete");
    delete["PhysicalResourceId"] = "parlor-prod-Migration-1ABCDEF".into();
    done(&migrate_on(&database).await, &delete).await;
    let heard = stack.heard.lock().unwrap();
    assert_eq!(
        heard[0].body["PhysicalResourceId"],
        delete["PhysicalResourceId"]
    );
}

#[tokio::test]
async fn the_response_to_cloudformation_is_retried() {
    let (database, stack) = (TestDatabase::empty().await, Told::start(&[503, 500]).await);
    let create = stack.event("stack-create");
    done(&migrate_on(&database).await, &create).await;
    assert_eq!(stack.times(), 3);
    assert_eq!(stack.last(&create)["Status"], "SUCCESS");
}

#[tokio::test]
async fn an_undeliverable_response_fails_so_that_lambda_retries() {
    let (database, stack) = (TestDatabase::empty().await, Told::start(&[403; 99]).await);
    let emulator = migrate_on(&database).await;
    let outcome = emulator
        .invoke("db-migrate", &stack.event("stack-create"))
        .await
        .unwrap();
    let Outcome::Error(error) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(error.message.contains("could not be told"), "{error}");
    assert_eq!(stack.times(), 4);
    // The address is as good as a key.
    for line in emulator.logs("db-migrate").unwrap() {
        assert!(!line.contains("hunter2"), "{line}");
    }
}

/// What it is told of a migration that cannot be done.
async fn failure(stack: &Told, emulator: &Emulator) -> Value {
    let create = stack.event("stack-create");
    assert_eq!(done(emulator, &create).await, Value::Null);
    assert_eq!(stack.times(), 1);
    let told = stack.last(&create);
    assert_eq!(told["Status"], "FAILED");
    told["Reason"].clone()
}

#[tokio::test]
async fn a_failed_migration_is_reported_without_data() {
    let (database, stack) = (TestDatabase::empty().await, Told::start(&[]).await);
    let pool = database.pool().await;
    pool.execute("create schema biz; create table biz.sites (secret_of_ours int)")
        .await
        .unwrap();
    let emulator = migrate_on(&database).await;
    let reason = failure(&stack, &emulator).await;
    let expected = "the schema could not be brought up to date; the log of db-migrate says more";
    assert_eq!(reason, expected);
    until("the log says more", async || {
        let logs = emulator.logs("db-migrate").unwrap().join("\n");
        logs.contains("migration failed").then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_unknown_database_host_is_reported() {
    let stack = Told::start(&[]).await;
    for (url, why) in [
        ("", "DATABASE_URL is not set"),
        ("mysql://root:hunter2@db", "DATABASE_URL is not valid"),
        (
            "postgres://root:hunter2@127.0.0.1:1/none",
            "could not be brought up to date",
        ),
    ] {
        let variables = [("DATABASE_URL", url)];
        let emulator = migrate_with(Duration::from_secs(300), &variables).await;
        let create = stack.event("stack-create");
        assert_eq!(done(&emulator, &create).await, Value::Null);
        let told = stack.last(&create);
        assert_eq!(told["Status"], "FAILED");
        let reason = told["Reason"].as_str().unwrap();
        assert!(
            reason.contains(why) && !reason.contains("hunter2"),
            "{reason}"
        );
    }
}

#[tokio::test]
async fn a_migration_is_reported_as_failed_before_the_function_times_out() {
    let (database, stack) = (TestDatabase::new().await, Told::start(&[]).await);
    // Another migration holds the lock that sqlx takes, and does not end.
    let mut other = PgConnection::connect(database.url()).await.unwrap();
    sqlx::migrate::Migrate::lock(&mut other).await.unwrap();
    // Ten seconds of it are kept to tell in.
    let variables = [("DATABASE_URL", database.url())];
    let emulator = migrate_with(Duration::from_secs(12), &variables).await;
    let reason = failure(&stack, &emulator).await;
    assert!(reason.as_str().unwrap().contains("in the time"), "{reason}");
    // It has answered by itself: it was not killed.
    assert_eq!(emulator.instances("db-migrate").unwrap().len(), 1);
    sqlx::migrate::Migrate::unlock(&mut other).await.unwrap();
    let update = stack.event("stack-update");
    done(&emulator, &update).await;
    assert_eq!(stack.last(&update)["Status"], "SUCCESS");
}

#[tokio::test]
async fn older_code_accepts_a_newer_schema() {
    let (database, stack) = (TestDatabase::new().await, Told::start(&[]).await);
    let pool = database.pool().await;
    let applied =
        "insert into public._sqlx_migrations (version, description, success, checksum, execution_time)
         values (9999, 'of a deployment that is rolled back', true, '', 0)";
    pool.execute(applied).await.unwrap();
    let emulator = migrate_on(&database).await;
    let update = stack.event("stack-update");
    done(&emulator, &update).await;
    let told = stack.last(&update);
    assert_eq!(told["Status"], "SUCCESS", "{told}");
    assert_eq!(told["Data"], json!({ "Applied": 0, "Version": 9999 }));
}

#[tokio::test]
async fn a_removed_migration_is_an_error() {
    let (database, stack) = (TestDatabase::new().await, Told::start(&[]).await);
    let pool = database.pool().await;
    let applied =
        "insert into public._sqlx_migrations (version, description, success, checksum, execution_time)
         values (0, 'of nobody', true, '', 0)";
    pool.execute(applied).await.unwrap();
    let emulator = migrate_on(&database).await;
    failure(&stack, &emulator).await;
}

#[tokio::test]
async fn responses_are_sent_only_over_https() {
    let database = TestDatabase::empty().await;
    let mut create = recorded("stack-create");
    create["ResponseURL"] = "http://cloudformation.example.com/response".into();
    let emulator = migrate_on(&database).await;
    let outcome = emulator.invoke("db-migrate", &create).await.unwrap();
    assert!(matches!(outcome, Outcome::Error(_)), "{outcome:?}");
}
