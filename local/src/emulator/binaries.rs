//! The functions' executables, built as the running one was.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use tokio::process::Command;
use tokio::sync::OnceCell;

/// How the variables begin that `cargo run` and `cargo test` set for the program.
const SET_BY_CARGO: [&str; 5] = [
    "CARGO_BIN_",
    "CARGO_CRATE_NAME",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "CARGO_PRIMARY_PACKAGE",
];

/// Why there are no executables.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// This program does not lie in a Cargo target directory.
    #[error("{} is not in a cargo target directory", .0.display())]
    NotInTarget(PathBuf),
    /// Cargo, or the path of this program, could not be had.
    #[error("cargo could not be run")]
    Io(#[from] io::Error),
    /// Cargo has said why on standard error.
    #[error("cargo build failed: {0}")]
    Cargo(ExitStatus),
}

/// Builds every binary of the workspace, in the profile and the target directory of the running
/// program, and gives the directory that they are in. The first call does the work; a call after it
/// only waits for that.
pub async fn build() -> Result<PathBuf, BuildError> {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    let directory = BUILT.get_or_try_init(|| run_cargo(&["--workspace", "--bins"]));
    directory.await.cloned()
}

/// Builds this crate's examples, the functions that the emulator's own tests use, and gives their
/// directory. `cargo test` builds them too, but not when it is told which test to run.
pub async fn build_examples() -> Result<PathBuf, BuildError> {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    let directory = BUILT.get_or_try_init(async || {
        let directory = run_cargo(&["--package", "local", "--examples"]).await?;
        Ok::<_, BuildError>(directory.join("examples"))
    });
    directory.await.cloned()
}

#[expect(
    clippy::disallowed_methods,
    reason = "CARGO is how cargo names itself to what it runs"
)]
async fn run_cargo(selection: &[&str]) -> Result<PathBuf, BuildError> {
    let layout = Layout::of(&std::env::current_exe()?)?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .arg("build")
        .arg("--manifest-path")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"))
        .args(selection)
        .arg("--target-dir")
        .arg(&layout.target)
        .args(["--profile", &layout.profile]);
    if let Some(triple) = &layout.triple {
        command.args(["--target", triple]);
    }
    forget_cargo(&mut command);
    let status = command.stdin(Stdio::null()).status().await?;
    if status.success() {
        Ok(layout.directory)
    } else {
        Err(BuildError::Cargo(status))
    }
}

/// Takes away what cargo tells a program of its own package: it changes the fingerprints of build
/// scripts that read it (ring's does), and another cargo would build half of the dependencies again.
pub(crate) fn forget_cargo(command: &mut Command) {
    let told = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in told.filter(|name| SET_BY_CARGO.iter().any(|set| name.starts_with(set))) {
        command.env_remove(name);
    }
}

/// Where in a target directory a program lies: `target[/triple]/profile[/deps|/examples]/program`.
#[derive(Debug, PartialEq, Eq)]
struct Layout {
    target: PathBuf,
    triple: Option<String>,
    profile: String,
    directory: PathBuf,
}

impl Layout {
    fn of(program: &Path) -> Result<Self, BuildError> {
        Self::find(program).ok_or_else(|| BuildError::NotInTarget(program.to_owned()))
    }

    fn find(program: &Path) -> Option<Self> {
        let name = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
        let mut directory = program.parent()?;
        if matches!(name(directory)?.as_str(), "deps" | "examples") {
            directory = directory.parent()?;
        }
        let profile = match name(directory)?.as_str() {
            "debug" => "dev".to_owned(),
            other => other.to_owned(),
        };
        let above = directory.parent()?;
        let (target, triple) = if is_target(above) {
            (above, None)
        } else {
            (above.parent()?, Some(name(above)?))
        };
        is_target(target).then(|| Self {
            target: target.to_owned(),
            triple,
            profile,
            directory: directory.to_owned(),
        })
    }
}

/// Whether Cargo keeps its notes in a directory. The tag is there only when Cargo made the directory.
fn is_target(directory: &Path) -> bool {
    [".rustc_info.json", "CACHEDIR.TAG"]
        .iter()
        .any(|note| directory.join(note).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profile_and_triple_are_read_from_where_the_program_lies() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("target");
        std::fs::create_dir(&target).unwrap();
        std::fs::write(target.join("CACHEDIR.TAG"), "").unwrap();
        for (program, directory, profile, triple) in [
            ("debug/local", "debug", "dev", None),
            ("debug/deps/it-1234", "debug", "dev", None),
            ("release/local", "release", "release", None),
            (
                "aarch64-unknown-linux-gnu/ci/deps/it-1234",
                "aarch64-unknown-linux-gnu/ci",
                "ci",
                Some("aarch64-unknown-linux-gnu"),
            ),
        ] {
            let expected = Layout {
                target: target.clone(),
                triple: triple.map(str::to_owned),
                profile: profile.to_owned(),
                directory: target.join(directory),
            };
            assert_eq!(Layout::of(&target.join(program)).unwrap(), expected);
        }
    }

    #[test]
    fn a_program_elsewhere_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let error = Layout::of(&root.path().join("debug/local")).unwrap_err();
        assert!(matches!(error, BuildError::NotInTarget(_)));
    }
}
