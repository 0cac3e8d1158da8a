//! Builds the executables of the functions in the profile of the running program.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use tokio::process::Command;
use tokio::sync::OnceCell;

/// Prefixes of the variables that `cargo run` and `cargo test` set for the program.
const SET_BY_CARGO: [&str; 5] = [
    "CARGO_BIN_",
    "CARGO_CRATE_NAME",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "CARGO_PRIMARY_PACKAGE",
];

/// An error of a build.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The running program is not in a Cargo target directory.
    #[error("{} is not in a cargo target directory", .0.display())]
    NotInTarget(PathBuf),
    /// Cargo could not be run, or the path of the running program is unknown.
    #[error("cargo could not be run")]
    Io(#[from] io::Error),
    /// Cargo failed. It printed the reason to standard error.
    #[error("cargo build failed: {0}")]
    Cargo(ExitStatus),
}

/// Builds all binaries of the workspace and returns their directory. Uses the profile and the
/// target directory of the running program. Later calls return the result of the first one.
pub async fn build() -> Result<PathBuf, BuildError> {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    let directory = BUILT.get_or_try_init(|| run_cargo(&["--workspace", "--bins"]));
    directory.await.cloned()
}

/// Builds the examples of this crate and returns their directory. They are the functions for the
/// tests of the emulator. `cargo test` does not build them if it is limited to a test target.
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
    reason = "Cargo sets CARGO to its own path"
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
    remove_cargo_variables(&mut command);
    let status = command.stdin(Stdio::null()).status().await?;
    if status.success() {
        Ok(layout.directory)
    } else {
        Err(BuildError::Cargo(status))
    }
}

/// Removes the variables that Cargo sets for a program. Some build scripts read them, such as that
/// of ring. A nested Cargo with these variables would rebuild half of the dependencies.
pub(crate) fn remove_cargo_variables(command: &mut Command) {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in names.filter(|name| SET_BY_CARGO.iter().any(|set| name.starts_with(set))) {
        command.env_remove(name);
    }
}

/// The parts of a path `target[/triple]/profile[/deps|/examples]/program`.
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

/// True for a Cargo target directory. `CACHEDIR.TAG` exists only if Cargo created the directory.
fn is_target(directory: &Path) -> bool {
    [".rustc_info.json", "CACHEDIR.TAG"]
        .iter()
        .any(|note| directory.join(note).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profile_and_triple_come_from_the_path_of_the_program() {
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
    fn program_outside_a_target_directory_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let error = Layout::of(&root.path().join("debug/local")).unwrap_err();
        assert!(matches!(error, BuildError::NotInTarget(_)));
    }
}
