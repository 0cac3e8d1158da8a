//! A function for the emulator's own tests: it answers in every way that a function can. Gates are
//! files in a directory that the test makes, so that the test decides when things happen.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::extract::{Query, RawQuery, Request};
use axum::http::{Method, StatusCode, Uri};
use axum::response::sse::{Event, Sse};
use axum::routing::{any, get};
use axum::{Json, Router};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use common::{platform::time_limit::TimeLimit, web::RequestId};
use futures_util::{Stream, StreamExt as _, stream};
use serde::Deserialize;
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    let router = Router::new()
        .route("/echo", any(echo))
        .route("/echo/{id}", any(echo))
        .route("/stream", get(events))
        .route("/wait", get(wait))
        .route("/panic", get(panic))
        .route("/panic-in-stream", get(panic_in_stream))
        .route("/empty", get(async || StatusCode::NO_CONTENT))
        .route("/big", get(async || "x".repeat(8 * 1024 * 1024)))
        .route("/exit", get(exit));
    lambda::run(router).await
}

#[derive(Deserialize)]
struct Gates {
    dir: PathBuf,
}

async fn echo(
    method: Method,
    uri: Uri,
    RawQuery(query): RawQuery,
    request: Request,
) -> Json<Value> {
    let limit = request.extensions().get::<TimeLimit>();
    let deadline = limit.and_then(TimeLimit::at);
    let id = request
        .extensions()
        .get::<RequestId>()
        .map(|id| id.0.to_string());
    let answer = json!({
        "method": method.as_str(),
        "path": uri.path(),
        "query": query,
        "requestId": id,
        "remainingMs": deadline.map(|end| {
            end.saturating_duration_since(tokio::time::Instant::now()).as_millis()
        }),
        "processId": std::process::id(),
    });
    let body = axum::body::to_bytes(request.into_body(), usize::MAX).await;
    let body = body.unwrap_or_default();
    let mut answer = answer;
    answer["bodyBase64"] = BASE64_STANDARD.encode(&body).into();
    answer["body"] = String::from_utf8_lossy(&body).into();
    Json(answer)
}

/// Five events; each but the first waits for the file of its number. `done` is written at the end.
async fn events(Query(gates): Query<Gates>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = stream::iter(0..5).then(move |number| {
        let dir = gates.dir.clone();
        async move {
            if number > 0 {
                opened(&dir.join(number.to_string())).await;
            }
            if number == 4 {
                mark(&dir.join("done"));
            }
            Ok(Event::default().data(number.to_string()))
        }
    });
    Sse::new(events)
}

/// Says that it has started, and answers once `go` is there.
async fn wait(Query(gates): Query<Gates>) -> String {
    let id = std::process::id();
    mark(&gates.dir.join(format!("started-{id}")));
    opened(&gates.dir.join("go")).await;
    mark(&gates.dir.join(format!("finished-{id}")));
    id.to_string()
}

async fn panic() -> StatusCode {
    panic!("as asked")
}

async fn panic_in_stream() -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = stream::iter(0..2).map(|number| {
        assert_eq!(number, 0, "as asked");
        Ok(Event::default().data("0"))
    });
    Sse::new(events)
}

#[expect(clippy::disallowed_methods, reason = "plays a crash")]
async fn exit() -> StatusCode {
    std::process::exit(3)
}

async fn opened(gate: &Path) {
    while !gate.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn mark(file: &Path) {
    std::fs::write(file, "").expect("the test's directory is writable");
}
