//! Tests of the client with a scripted server on loopback.

mod answers;
mod connections;
mod errors;
mod keys;
mod requests;
mod server;
mod waiting;
mod written;

use std::time::Duration;

use tokio::time::Instant;

use super::*;
pub(super) use server::{Server, Step};
pub(super) use written::way;

/// `(file name, content, text)` of each complete answer.
const WHOLE_STREAMS: &[(&str, &[u8], &str)] = &[
    (
        "stream-delta.sse",
        include_bytes!("../testdata/stream-delta.sse"),
        "收到，请继续。",
    ),
    (
        "stream-thoughts.sse",
        include_bytes!("../testdata/stream-thoughts.sse"),
        "收到",
    ),
    (
        "stream-workflow.sse",
        include_bytes!("../testdata/stream-workflow.sse"),
        "收到",
    ),
    (
        "stream-surrogates-split.sse",
        include_bytes!("../testdata/stream-surrogates-split.sse"),
        "本月第一🎱，继续保持！",
    ),
    (
        "ok.json",
        include_bytes!("../testdata/ok.json"),
        "收到，请继续。",
    ),
];

const DELTA: &str = include_str!("../testdata/stream-delta.sse");
const ERROR_MID: &str = include_str!("../testdata/stream-error-mid.sse");
const OK: &str = include_str!("../testdata/ok.json");
const SESSION: &str = "0f3a9c5d7e2b48c19a6d4e8f7b1c2d30";
const REQUEST: &str = "4c1f7b52-0d0e-9a6b-8f53-2b7c9d1e0a11";

/// `(file name, content)` of every recorded payload.
pub(super) fn golden() -> Vec<(String, Vec<u8>)> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/dashscope/testdata");
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

/// Default timeouts, and pauses of 1 ms between retries.
fn config(server: &Server) -> Config {
    Config {
        base_url: server.base_url(),
        retries: Retries {
            delays: vec![Duration::from_millis(1); 3],
            jitter: 0.25,
        },
        ..Config::new("sk-test-000".into())
    }
}

fn client(server: &Server) -> DashScope {
    DashScope::new(config(server)).unwrap()
}

fn call() -> Call {
    Call {
        app_id: "ok".to_owned(),
        prompt: "你是谁？".to_owned(),
        ..Call::default()
    }
}

fn continued(session_id: &str) -> Call {
    Call {
        session_id: Some(session_id.to_owned()),
        ..call()
    }
}

/// A deadline that no test reaches.
fn far_deadline() -> Instant {
    Instant::now() + Duration::from_mins(1)
}

fn may_have_cost(error: &Error) -> bool {
    error.spent() != Spent::default()
}

/// Streams one answer. Returns its text so far, and the finished stream or the error.
async fn events(client: &DashScope, call: &Call) -> (String, Result<AnswerStream, Error>) {
    let mut text = String::new();
    let mut answer = match client.stream(call, far_deadline()).await {
        Ok(answer) => answer,
        Err(error) => return (text, Err(error)),
    };
    loop {
        match answer.next().await {
            Ok(Event::Text(piece)) => {
                assert!(!piece.is_empty());
                text.push_str(&piece);
            }
            Ok(Event::Done) => return (text, Ok(answer)),
            Err(error) => return (text, Err(error)),
        }
    }
}

/// The error of a stream if the server sends `response`, without retries.
async fn error_of(response: Vec<Step>) -> Error {
    let server = Server::start(vec![response]).await;
    let client = DashScope::new(Config {
        retries: Retries::none(),
        ..config(&server)
    })
    .unwrap();
    events(&client, &call()).await.1.unwrap_err()
}
