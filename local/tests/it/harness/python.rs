//! Python packages and scripts for tests: official clients and servers of others.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use fs4::FileExt;

/// The directory that holds these packages, installed with pip at the first call ever.
///
/// It lies in Cargo's target directory, so later runs find it. A file lock makes tests that run
/// at the same time share one installation; a marker, written last, tells a whole installation
/// from a broken one. `name` is the directory's; the same name means the same packages.
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
        ])
        .args(["--root-user-action", "ignore", "--target"])
        .arg(&directory)
        .args(requirements)
        .output()
        .expect("python3 is on the PATH");
    // On success pip complains, too: of conflicts with packages that lie elsewhere.
    let complaint = String::from_utf8_lossy(&pip.stderr);
    assert!(
        pip.status.success(),
        "pip could not install {requirements:?}\n{complaint}"
    );
    fs::write(&marker, wanted).expect("write the marker");
    directory
}

/// Runs `python3 SCRIPT ARGUMENTS…` with the packages at hand, and fails with its output.
pub async fn run(packages: &Path, script: &Path, arguments: &[&str]) {
    let output = tokio::process::Command::new("python3")
        .arg(script)
        .args(arguments)
        .env("PYTHONPATH", packages)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        // A proxy has no business between two processes of one machine.
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
