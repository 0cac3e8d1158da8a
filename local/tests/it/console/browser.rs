//! The console in Chromium.

use std::{ffi::OsStr, path::Path};

use tokio::process::Command;

use super::busy_parlor;
use crate::harness::{
    node,
    parlor::{COACH, token},
};

/// Users whose tokens the script gets.
const USERS: [i64; 4] = [COACH, 1004, 1007, 9001];

#[tokio::test]
async fn the_console_works_in_a_browser() {
    let Some(chromium) = node::chromium() else {
        eprintln!("NOT CHECKED: Chromium is not installed (Debian: apt-get install chromium)");
        return;
    };
    let Some(packages) = tokio::task::spawn_blocking(node::browser_packages)
        .await
        .unwrap()
    else {
        eprintln!("NOT CHECKED: npm could not install the packages");
        return;
    };
    let parlor = busy_parlor().await;
    let tokens = USERS
        .map(|user| format!("\"{user}\":\"{}\"", token(user)))
        .join(",");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/console.mjs");
    let node = tokio::task::spawn_blocking(node::program).await.unwrap();
    let mut command = Command::new(node);
    command
        .args([OsStr::new("--test"), script.as_os_str()])
        .env("PARLOR_URL", &parlor.address)
        .env("TOKENS", format!("{{{tokens}}}"))
        .env("CHROMIUM", chromium)
        .env("PACKAGES", packages)
        .env("NO_PROXY", "127.0.0.1")
        .kill_on_drop(true);
    let output = command.output().await.unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}
