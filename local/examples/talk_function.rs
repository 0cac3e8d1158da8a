//! A function for the emulator's own tests that handles several requests at once. Each stream has a
//! name, which is in its events and its log lines. Gates are files in a directory of the test.

use std::convert::Infallible;
use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query};
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use futures_util::{Stream, StreamExt as _, stream};
use serde::Deserialize;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    let router = Router::new().route("/talk/{name}", get(talk));
    lambda::serve(async |_| Ok(router.into())).await
}

#[derive(Deserialize)]
struct Gates {
    dir: PathBuf,
}

/// Two events. The second waits for the file `go`. If the name begins with `panic`, the stream
/// panics instead; if it begins with `slow`, the stream waits for the file `never`.
async fn talk(
    Path(name): Path<String>,
    Query(Gates { dir }): Query<Gates>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = stream::iter(["first", "last"]).then(move |what| {
        let (dir, name) = (dir.clone(), name.clone());
        async move {
            if what == "last" {
                let gate = if name.starts_with("slow") {
                    "never"
                } else {
                    "go"
                };
                opened(&dir.join(gate)).await;
                assert!(!name.starts_with("panic"), "as asked");
            }
            tracing::info!(name, what, "spoken");
            Ok(Event::default().data(format!("{name} {what}")))
        }
    });
    Sse::new(events)
}

async fn opened(gate: &FilePath) {
    while !gate.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
