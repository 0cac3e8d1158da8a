//! Python packages and scripts for tests, such as official SDKs and moto.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use fs4::FileExt;

/// Returns the directory with these packages. pip installs them on the first call.
///
/// The directory is in Cargo's target directory, so later runs reuse it. A file lock makes
/// concurrent tests share one installation. A marker is written last and identifies a complete
/// installation. `name` is the name of the directory; the same name must always have the same
/// packages.
pub fn packages(name: &str, requirements: &[&str]) -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
    fs::create_dir_all(&root).expect("create the directory for Python packages");
    let directory = root.join(name);
    let marker = directory.join("installed");
    let wanted = requirements.join("\n");

    let lock = File::create(root.join(format!("{name}.lock"))).expect("create the lock file");
    FileExt::lock(&lock).expect("lock the directory"); // until `lock` is dropped
    if fs::read_to_string(&marker).is_ok_and(|installed| installed == wanted) {
        return directory;
    }
    fs::remove_dir_all(&directory).ok();
    let pip = Command::new("python3")
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            // Most modules are never imported. Python compiles the others at their first import.
            "--no-compile",
        ])
        .args(["--root-user-action", "ignore", "--target"])
        .arg(&directory)
        .args(requirements)
        .output()
        .expect("python3 is on the PATH");
    // Even on success, pip prints warnings about conflicts with packages outside the directory.
    let complaint = String::from_utf8_lossy(&pip.stderr);
    assert!(
        pip.status.success(),
        "pip could not install {requirements:?}\n{complaint}"
    );
    fs::write(&marker, wanted).expect("write the marker");
    directory
}

/// Runs `python3 SCRIPT ARGUMENTS…` with the packages. On failure, panics with the script's output.
pub async fn run(packages: &Path, script: &Path, arguments: &[&str]) {
    let output = tokio::process::Command::new("python3")
        .arg(script)
        .args(arguments)
        .env("PYTHONPATH", packages)
        // Requests between local processes must not use a proxy.
        .env("NO_PROXY", "127.0.0.1")
        .kill_on_drop(true)
        .output()
        .await
        .expect("python3 is on the PATH");
    assert!(
        output.status.success(),
        "{} failed\n{}{}",
        script.display(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}
