//! `db-migrate` in a deployment: invoked by `CloudFormation`, to which it sends a response.

#![expect(clippy::unwrap_used, reason = "test helpers")]

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

/// The server of the `ResponseURL`. It returns these statuses in order, then 200.
struct ResponseServer {
    url: String,
    received: Arc<Mutex<Vec<Received>>>,
}

struct Received {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Value,
}

type Script = (Arc<Mutex<Vec<Received>>>, Arc<Mutex<VecDeque<u16>>>);

impl ResponseServer {
    async fn start(statuses: &[u16]) -> Self {
        let received = Arc::default();
        let script = Arc::new(Mutex::new(statuses.iter().copied().collect()));
        let app = Router::new()
            .fallback(receive)
            .with_state((Arc::clone(&received), script));
        let url = serve(app).await;
        Self { url, received }
    }

    /// A recorded event with this server's `ResponseURL`.
    fn event(&self, name: &str) -> Value {
        let mut event = recorded(name);
        event["ResponseURL"] = format!("{}/response?X-Amz-Signature=hunter2", self.url).into();
        event
    }

    fn times(&self) -> usize {
        self.received.lock().unwrap().len()
    }

    /// The last response, after checking that it belongs to the event.
    fn last(&self, event: &Value) -> Value {
        let received = self.received.lock().unwrap();
        let received = received.last().unwrap();
        assert_eq!(received.method, Method::PUT);
        assert_eq!(received.uri, "/response?X-Amz-Signature=hunter2");
        assert_eq!(received.headers["content-type"], "");
        assert!(received.headers.contains_key("content-length"));
        for name in ["StackId", "RequestId", "LogicalResourceId"] {
            assert_eq!(received.body[name], event[name], "{name}");
        }
        assert_eq!(received.body["PhysicalResourceId"], "schema");
        received.body.clone()
    }
}

async fn receive(
    State((received, script)): State<Script>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> StatusCode {
    received.lock().unwrap().push(Received {
        method,
        uri,
        headers,
        body: serde_json::from_str(&body).unwrap(),
    });
    let status = script.lock().unwrap().pop_front().unwrap_or(200);
    StatusCode::from_u16(status).unwrap()
}

/// A `db-migrate` with these variables in addition or instead.
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
    let (database, stack) = (
        TestDatabase::empty().await,
        ResponseServer::start(&[]).await,
    );
    let emulator = migrate_on(&database).await;

    let create = stack.event("stack-create");
    assert_eq!(done(&emulator, &create).await["applied"], migrations());
    let response = stack.last(&create);
    assert_eq!(response["Status"], "SUCCESS");
    let data = json!({ "Applied": migrations(), "Version": newest() });
    assert_eq!(response["Data"], data);

    let update = stack.event("stack-update");
    done(&emulator, &update).await;
    let response = stack.last(&update);
    assert_eq!(response["Status"], "SUCCESS");
    assert_eq!(
        response["Data"],
        json!({ "Applied": 0, "Version": newest() })
    );

    let tables = count(&database, TABLES).await;
    assert!(tables > 0);
    let delete = stack.event("stack-delete");
    assert_eq!(done(&emulator, &delete).await, Value::Null);
    let response = stack.last(&delete);
    assert_eq!(
        (&response["Status"], &response["Data"]),
        (&json!("SUCCESS"), &Value::Null)
    );
    assert_eq!(count(&database, TABLES).await, tables);
    assert_eq!(stack.times(), 3);
}

#[tokio::test]
async fn a_resource_that_cloudformation_named_itself_keeps_its_name() {
    let (database, stack) = (
        TestDatabase::empty().await,
        ResponseServer::start(&[]).await,
    );
    let mut delete = stack.event("stack-delete");
    delete["PhysicalResourceId"] = "parlor-prod-Migration-1ABCDEF".into();
    done(&migrate_on(&database).await, &delete).await;
    let received = stack.received.lock().unwrap();
    assert_eq!(
        received[0].body["PhysicalResourceId"],
        delete["PhysicalResourceId"]
    );
}

#[tokio::test]
async fn the_response_to_cloudformation_is_retried() {
    let (database, stack) = (
        TestDatabase::empty().await,
        ResponseServer::start(&[503, 500]).await,
    );
    let create = stack.event("stack-create");
    done(&migrate_on(&database).await, &create).await;
    assert_eq!(stack.times(), 3);
    assert_eq!(stack.last(&create)["Status"], "SUCCESS");
}

#[tokio::test]
async fn an_undeliverable_response_fails_so_that_lambda_retries() {
    let (database, stack) = (
        TestDatabase::empty().await,
        ResponseServer::start(&[403; 99]).await,
    );
    let emulator = migrate_on(&database).await;
    let outcome = emulator
        .invoke("db-migrate", &stack.event("stack-create"))
        .await
        .unwrap();
    let Outcome::Error(error) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(error.message.contains("could not be reported"), "{error}");
    assert_eq!(stack.times(), 4);
    // The URL is a secret, because it is signed.
    for line in emulator.logs("db-migrate").unwrap() {
        assert!(!line.contains("hunter2"), "{line}");
    }
}

/// The reason in the response about a migration that fails.
async fn failure(stack: &ResponseServer, emulator: &Emulator) -> Value {
    let create = stack.event("stack-create");
    assert_eq!(done(emulator, &create).await, Value::Null);
    assert_eq!(stack.times(), 1);
    let response = stack.last(&create);
    assert_eq!(response["Status"], "FAILED");
    response["Reason"].clone()
}

#[tokio::test]
async fn a_failed_migration_is_reported_without_data() {
    let (database, stack) = (
        TestDatabase::empty().await,
        ResponseServer::start(&[]).await,
    );
    let pool = database.pool().await;
    pool.execute("create schema biz; create table biz.sites (secret_of_ours int)")
        .await
        .unwrap();
    let emulator = migrate_on(&database).await;
    let reason = failure(&stack, &emulator).await;
    let expected = "the schema could not be brought up to date; see the log of db-migrate";
    assert_eq!(reason, expected);
    until("the error is logged", async || {
        let logs = emulator.logs("db-migrate").unwrap().join("\n");
        logs.contains("migration failed").then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_unknown_database_host_is_reported() {
    let stack = ResponseServer::start(&[]).await;
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
        let response = stack.last(&create);
        assert_eq!(response["Status"], "FAILED");
        let reason = response["Reason"].as_str().unwrap();
        assert!(
            reason.contains(why) && !reason.contains("hunter2"),
            "{reason}"
        );
    }
}

#[tokio::test]
async fn a_migration_is_reported_as_failed_before_the_function_times_out() {
    let (database, stack) = (TestDatabase::new().await, ResponseServer::start(&[]).await);
    // Another migration holds sqlx's lock.
    let mut other = PgConnection::connect(database.url()).await.unwrap();
    sqlx::migrate::Migrate::lock(&mut other).await.unwrap();
    // The last ten seconds are reserved for the response.
    let variables = [("DATABASE_URL", database.url())];
    let emulator = migrate_with(Duration::from_secs(12), &variables).await;
    let reason = failure(&stack, &emulator).await;
    let expected = "before the function's timeout";
    assert!(reason.as_str().unwrap().contains(expected), "{reason}");
    // The function has returned by itself and was not killed.
    assert_eq!(emulator.instances("db-migrate").unwrap().len(), 1);
    sqlx::migrate::Migrate::unlock(&mut other).await.unwrap();
    let update = stack.event("stack-update");
    done(&emulator, &update).await;
    assert_eq!(stack.last(&update)["Status"], "SUCCESS");
}

#[tokio::test]
async fn older_code_accepts_a_newer_schema() {
    let (database, stack) = (TestDatabase::new().await, ResponseServer::start(&[]).await);
    let pool = database.pool().await;
    let applied =
        "insert into public._sqlx_migrations (version, description, success, checksum, execution_time)
         values (9999, 'of a deployment that is rolled back', true, '', 0)";
    pool.execute(applied).await.unwrap();
    let emulator = migrate_on(&database).await;
    let update = stack.event("stack-update");
    done(&emulator, &update).await;
    let response = stack.last(&update);
    assert_eq!(response["Status"], "SUCCESS", "{response}");
    assert_eq!(response["Data"], json!({ "Applied": 0, "Version": 9999 }));
}

#[tokio::test]
async fn a_removed_migration_is_an_error() {
    let (database, stack) = (TestDatabase::new().await, ResponseServer::start(&[]).await);
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
