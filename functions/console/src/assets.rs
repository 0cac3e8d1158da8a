//! Style sheet and scripts, compiled into the binary.
//!
//! Their path has a hash of all of them, so that browsers may keep them for ever.

use std::sync::LazyLock;

use axum::{
    extract::Path,
    response::{IntoResponse, Response},
};
use common::{Error, Result};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use sha2::{Digest as _, Sha256};

/// Name, type and content.
const FILES: [(&str, &str, &str); 6] = [
    (
        "console.css",
        "text/css; charset=utf-8",
        include_str!("../assets/console.css"),
    ),
    (
        "console.js",
        "text/javascript; charset=utf-8",
        include_str!("../assets/console.js"),
    ),
    (
        "htmx.min.js",
        "text/javascript; charset=utf-8",
        include_str!("../assets/vendor/htmx.min.js"),
    ),
    (
        "chat.js",
        "text/javascript; charset=utf-8",
        include_str!("../assets/chat.js"),
    ),
    // `chat.js` imports this file, which imports `../core.js`.
    (
        "browser/chat.js",
        "text/javascript; charset=utf-8",
        include_str!("../../../clients/browser/chat.js"),
    ),
    (
        "core.js",
        "text/javascript; charset=utf-8",
        include_str!("../../../clients/core.js"),
    ),
];

static HASH: LazyLock<String> = LazyLock::new(|| {
    let mut sha = Sha256::new();
    for (name, _, content) in FILES {
        sha.update(name);
        sha.update(content);
    }
    let mut hash = format!("{:x}", sha.finalize());
    hash.truncate(12);
    hash
});

/// The folder of the current files.
pub fn hash() -> &'static str {
    &HASH
}

/// `GET /console/assets/{hash}/{name}`. Another hash gets the current file, which is not kept.
pub(crate) async fn serve(Path((hash, name)): Path<(String, String)>) -> Result<Response> {
    let file = FILES.into_iter().find(|file| file.0 == name);
    let (_, kind, content) = file.ok_or(Error::NotFound)?;
    let kept = if hash == *HASH {
        "public, max-age=31536000, immutable"
    } else {
        "no-store"
    };
    Ok(([(CONTENT_TYPE, kind), (CACHE_CONTROL, kept)], content).into_response())
}
