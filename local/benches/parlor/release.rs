//! Builds the deployed binaries, in the profile of a deployment.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use local::cloud::FUNCTIONS;

use crate::{Result, progress};

/// Prefixes of the variables that Cargo sets for a program. A nested Cargo with these variables
/// would rebuild half of the dependencies, because some build scripts read them.
const SET_BY_CARGO: [&str; 5] = [
    "CARGO_BIN_",
    "CARGO_CRATE_NAME",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "CARGO_PRIMARY_PACKAGE",
];

/// The built binaries.
pub struct Binaries {
    directory: PathBuf,
}

impl Binaries {
    /// Builds the binaries that are missing or out of date.
    pub fn build() -> Result<Self> {
        progress("building the release binaries (the first time, linking takes minutes)");
        let program = std::env::current_exe()?;
        let target = program
            .ancestors()
            .nth(3)
            .ok_or("not in a cargo target directory")?;
        let functions = FUNCTIONS.iter().flat_map(|(name, _)| ["--package", name]);
        cargo(target, functions)?;
        cargo(target, ["--package", "lambda", "--example", "hello"])?;
        Ok(Self {
            directory: target.join("release"),
        })
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A minimal `lambda_http` function.
    pub fn hello(&self) -> PathBuf {
        self.directory.join("examples/hello")
    }

    /// Name and path of each function.
    pub fn functions(&self) -> impl Iterator<Item = (&'static str, PathBuf)> {
        FUNCTIONS
            .iter()
            .map(|(name, _)| (*name, self.directory.join(name)))
    }
}

fn cargo<'a>(target: &Path, selection: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["build", "--release", "--quiet", "--manifest-path"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"))
        .arg("--target-dir")
        .arg(target)
        .args(selection)
        .stdin(Stdio::null());
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in names.filter(|name| SET_BY_CARGO.iter().any(|set| name.starts_with(set))) {
        command.env_remove(name);
    }
    let status = command.status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("cargo build --release: {status}").into())
    }
}
