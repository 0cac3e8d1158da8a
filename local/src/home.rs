//! `.parlor/`: what is kept between runs. `--home` or `PARLOR_HOME` names another directory.

use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use secrecy::SecretString;

/// The directory, made where it is missing: the named one, else `.parlor` beside the sources
/// while they are there, else in the current directory.
pub fn directory(named: Option<&Path>) -> io::Result<PathBuf> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .filter(|root| root.join("Cargo.toml").is_file());
    let home = match (named, sources) {
        (Some(named), _) => named.to_owned(),
        (None, Some(root)) => root.join(".parlor"),
        (None, None) => std::env::current_dir()?.join(".parlor"),
    };
    fs::create_dir_all(&home)?;
    Ok(home)
}

/// The secret that this laptop's tokens are signed with, made at the first need.
pub fn jwt_secret(home: &Path) -> io::Result<SecretString> {
    let path = home.join("jwt-secret");
    loop {
        match fs::read_to_string(&path) {
            Ok(secret) if secret.len() >= 32 => return Ok(secret.into()),
            Ok(_) => fs::remove_file(&path)?,
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            Err(err) => return Err(err),
        }
        // Made under another name and linked, so that two launches at once agree on one.
        let fresh = home.join(format!("jwt-secret.{}", std::process::id()));
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
