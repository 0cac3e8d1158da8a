//! A private PostgreSQL for `serve` and for tests. It is found on the machine or downloaded, and
//! it stops when the process that started it ends, even if that is killed.

mod binaries;
mod cluster;
mod place;
mod server;

use std::{io, path::PathBuf};

pub use binaries::Binaries;
pub use cluster::{Cluster, ClusterOptions};

/// What to do if PostgreSQL is neither installed nor downloadable.
const ADVICE: &str = "PostgreSQL 15 or later was not found, and a download needs network and pip. \
     Do one of these:\n\
     - install PostgreSQL (Debian: apt-get install postgresql; macOS: brew install postgresql)\n\
     - set PARLOR_PG_BIN to a directory with `postgres` and `initdb`\n\
     - set DATABASE_URL to the URL of a PostgreSQL server";

/// An error of the private PostgreSQL.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// None was found on the machine, and none could be downloaded.
    #[error("{ADVICE}\nThe download failed: {0}")]
    NotFound(String),
    /// The configured directory has no usable PostgreSQL.
    #[error(
        "PARLOR_PG_BIN={0} has no PostgreSQL 15 or later, or the server's user cannot access it"
    )]
    NotUsable(PathBuf),
    /// Another process uses the same data directory.
    #[error("another Parlor (process {pid}) uses the data in {}", directory.display())]
    #[expect(missing_docs, reason = "plain data")]
    AlreadyRunning { pid: String, directory: PathBuf },
    /// The server stopped or did not become ready in time, or `initdb` failed.
    #[error("PostgreSQL {0}; its log ends with:\n{1}")]
    Failed(&'static str, String),
    /// A file or process operation failed.
    #[error("{0}")]
    Io(String, #[source] io::Error),
}

/// Converts an `io::Error` and says which operation failed.
fn failing(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    |source| Error::Io(what.into(), source)
}
