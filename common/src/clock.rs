//! Time and chance, so that nobody else asks for them.
//!
//! The time of a row is always the database's: function instances disagree by seconds.

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

/// A fresh request id, for where Lambda gives none.
#[expect(clippy::disallowed_methods, reason = "this module owns chance")]
pub fn request_id() -> String {
    Uuid::new_v4().to_string()
}
