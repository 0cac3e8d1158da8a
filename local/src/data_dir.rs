//! The data directory `.parlor/`, which is kept between runs. `--home` or `PARLOR_HOME` sets
//! another directory.

use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use secrecy::SecretString;

/// Returns the data directory and creates it if it is missing.
///
/// It is `named` if given. Otherwise it is `.parlor` in the source tree, or in the current
/// directory if the source tree does not exist.
pub fn open(named: Option<&Path>) -> io::Result<PathBuf> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .filter(|root| root.join("Cargo.toml").is_file());
    let data_dir = match (named, sources) {
        (Some(named), _) => named.to_owned(),
        (None, Some(root)) => root.join(".parlor"),
        (None, None) => std::env::current_dir()?.join(".parlor"),
    };
    fs::create_dir_all(&data_dir)?;
    Ok(data_dir)
}

/// The secret that signs the tokens of this data directory. Created on first use.
pub fn jwt_secret(data_dir: &Path) -> io::Result<SecretString> {
    let path = data_dir.join("jwt-secret");
    loop {
        match fs::read_to_string(&path) {
            Ok(secret) if secret.len() >= 32 => return Ok(secret.into()),
            Ok(_) => fs::remove_file(&path)?,
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            Err(err) => return Err(err),
        }
        // Written to another file and then linked, so that two processes use the same secret.
        let fresh = data_dir.join(format!("jwt-secret.{}", std::process::id()));
        let secret: String = std::iter::repeat_with(fastrand::alphanumeric)
            .take(64)
            .collect();
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)?;
        io::Write::write_all(&mut file, secret.as_bytes())?;
        let linked = fs::hard_link(&fresh, &path);
        fs::remove_file(&fresh)?;
        match linked {
            Err(err) if err.kind() != io::ErrorKind::AlreadyExists => return Err(err),
            _ => {}
        }
    }
}
