//! The committed `openapi.json` matches the routers.

use std::{fs, path::Path};

use local::command;

#[tokio::test]
async fn the_committed_openapi_document_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../openapi.json");
    let committed = fs::read_to_string(path).expect("read openapi.json");
    let described = command::openapi_json().expect("describe the routers");

    assert!(
        committed.trim_end() == described.trim_end(),
        "openapi.json has drifted from the routers; run: cargo run -- openapi > openapi.json"
    );
}

/// Generators of clients name a function or a type after each operation.
#[tokio::test]
async fn each_operation_has_its_own_id() {
    let described = command::openapi_json().expect("describe the routers");
    let mut ids: Vec<_> = described
        .lines()
        .filter(|line| line.contains("\"operationId\":"))
        .collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();

    assert!(all > 0, "no operation has an id");
    assert_eq!(all, ids.len(), "two operations have the same id");
}
