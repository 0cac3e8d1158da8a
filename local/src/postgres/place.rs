//! User and directory of the server. PostgreSQL refuses to run as root, so root starts it as
//! another user. That user must have access to the programs and the data.

use std::{
    fs::{self, DirBuilder},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// The user that the server runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// Returns the user `nobody` if this process runs as root. Otherwise returns `None`: the server
/// runs as the current user.
pub(super) fn other_owner() -> io::Result<Option<Owner>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let passwd = fs::read_to_string("/etc/passwd")?;
    let entry = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, uid, gid) = (
            fields.next()?,
            fields.next()?,
            fields.next()?,
            fields.next()?,
        );
        (name == "nobody").then_some((uid, gid))
    });
    match entry.and_then(|(uid, gid)| {
        Some(Owner {
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
        })
    }) {
        Some(owner) => Ok(Some(owner)),
        None => Err(io::Error::new(
            io::ErrorKind::NotFound,
            "root needs a user `nobody` to run PostgreSQL as",
        )),
    }
}

/// A directory for programs and data. It is `data_dir` if the server's user has access to it.
/// Otherwise it is a directory in `/var/tmp`, whose name is derived from `data_dir`.
pub(super) fn reachable(data_dir: &Path) -> io::Result<PathBuf> {
    let data_dir = data_dir.canonicalize()?;
    if other_owner()?.is_none() || is_open(&data_dir) {
        return Ok(data_dir);
    }
    let mut hasher = DefaultHasher::new();
    data_dir.hash(&mut hasher);
    let uid = rustix::process::geteuid().as_raw();
    let place = PathBuf::from(format!("/var/tmp/parlor-{uid}-{:016x}", hasher.finish()));
    match DirBuilder::new().mode(0o755).create(&place) {
        Err(err) if err.kind() != io::ErrorKind::AlreadyExists => return Err(err),
        _ => {}
    }
    // Another user may have created a directory with this name.
    let found = fs::symlink_metadata(&place)?;
    if found.is_dir() && found.uid() == uid {
        Ok(place)
    } else {
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{} belongs to another user", place.display()),
        ))
    }
}

/// True if every user has access: the path and all its parents have the execute bit for others.
pub(super) fn is_open(path: &Path) -> bool {
    path.ancestors()
        .all(|part| fs::metadata(part).is_ok_and(|found| found.permissions().mode() & 0o001 != 0))
}
