//! The content of the container image, run as the container would.

use std::{path::Path, process::Stdio};

use local::emulator::binaries;
use tokio::process::Command;

use crate::harness::{database::TestDatabase, parlor::Parlor};

#[tokio::test]
async fn the_content_of_the_image_runs_without_the_rest_of_the_machine() {
    let parlor = Parlor::start().await;
    let empty = TestDatabase::empty().await;
    let program = binaries::build().await.unwrap().join("parlor-server");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/image");
    let output = Command::new(script)
        .arg(program)
        .env("DATABASE_URL", empty.url())
        .env("DASHSCOPE_BASE_URL", parlor.simulator.base_url())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    #[expect(clippy::print_stdout, reason = "tells what was not checked")]
    for line in text.lines().filter(|line| line.contains("NOT CHECKED")) {
        println!("{line}");
    }
    assert!(output.status.success(), "{output:?}");
}
