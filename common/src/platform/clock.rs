//! Time and chance: no other module asks for them.
//!
//! The time of a row is always the database's: function instances disagree by seconds.
//! What day it is for a site is in `governance::runtime_context`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Now, for what has no row: a token's expiry, a log line.
#[expect(clippy::disallowed_methods, reason = "this module owns the clock")]
pub fn now() -> DateTime<Utc> {
    Utc::now()
}

/// Now, as CloudWatch counts it.
pub fn unix_millis() -> i64 {
    now().timestamp_millis()
}

/// Whole milliseconds, as the log, metrics and columns have them.
pub(crate) fn millis(took: Duration) -> i64 {
    i64::try_from(took.as_millis()).unwrap_or(i64::MAX)
}

/// A fresh request id, for where Lambda gives none.
#[expect(clippy::disallowed_methods, reason = "this module owns chance")]
pub fn request_id() -> String {
    Uuid::new_v4().to_string()
}
