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
