//! The emulator with real processes: all kinds of responses and failures of functions.

#![expect(clippy::unwrap_used, reason = "test helpers")]

mod concurrent;
mod gateway;
mod invocations;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use local::emulator::{Emulator, FunctionSpec, Outcome, Route, binaries};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The maximum wait of all tests.
const PATIENCE: Duration = Duration::from_mins(1);

async fn within<F: Future>(what: F) -> F::Output {
    let waited = tokio::time::timeout(PATIENCE, what).await;
    waited.expect("a timeout")
}

async fn until(condition: impl Fn() -> bool) {
    within(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

async fn spec(name: &str) -> FunctionSpec {
    let examples = binaries::build_examples().await.unwrap();
    FunctionSpec {
        name: name.to_owned(),
        binary: examples.join(format!("{name}_function")),
        env: Vec::new(),
        timeout: PATIENCE,
        memory_mb: 512,
        max_instances: 10,
        max_concurrency: 1,
    }
}

async fn echo() -> Emulator {
    Emulator::start(vec![spec("echo").await]).unwrap()
}

/// The echo function with one process, so that a replacement is noticed.
async fn echo_alone() -> Emulator {
    let mut spec = spec("echo").await;
    spec.max_instances = 1;
    Emulator::start(vec![spec]).unwrap()
}

fn recorded(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/events");
    let text = std::fs::read(path.join(name)).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// A recorded `GET` with another path.
fn get_event(path: &str, dir: Option<&TempDir>) -> Value {
    let mut event = recorded("rest-stream.json");
    event["path"] = path.into();
    let dir = dir.map(|dir| dir.path().to_str().unwrap());
    event["queryStringParameters"] = json!({"dir": dir.unwrap_or_default()});
    event["multiValueQueryStringParameters"] = json!({"dir": [dir.unwrap_or_default()]});
    event
}

async fn invoke(emulator: &Emulator, event: &Value) -> Outcome {
    within(emulator.invoke("echo", event)).await.unwrap()
}

/// The status and the body of an HTTP function's response, which is a stream.
async fn answered(outcome: Outcome) -> (StatusCode, Bytes) {
    assert!(matches!(outcome, Outcome::Stream(_)), "{outcome:?}");
    let response = within(outcome.into_http()).await.unwrap();
    let status = response.status();
    let body = within(response.into_body().collect()).await.unwrap();
    (status, body.to_bytes())
}

async fn answered_json(outcome: Outcome) -> Value {
    let (status, body) = answered(outcome).await;
    assert_eq!(status, 200);
    serde_json::from_slice(&body).unwrap()
}

fn open(dir: &TempDir, gate: &str) {
    std::fs::write(dir.path().join(gate), "").unwrap();
}

fn started(dir: &TempDir) -> usize {
    let names = std::fs::read_dir(dir.path()).unwrap();
    names
        .filter(|name| {
            let name = name.as_ref().unwrap().file_name();
            name.to_str().unwrap().starts_with("started-")
        })
        .count()
}

async fn chunk(
    body: &mut (impl hyper::body::Body<Data = Bytes, Error: std::fmt::Debug> + Unpin),
) -> String {
    let frame = within(body.frame()).await.unwrap().unwrap();
    String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
}
