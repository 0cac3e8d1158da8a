//! Current time and random ids. No other module reads the clock.
//!
//! Rows always use the time of the database, because clocks of function instances differ by
//! seconds. The current day of a site is in `governance::runtime_context`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// The current time, for uses other than rows: the expiry of a token, a log line.
#[expect(clippy::disallowed_methods, reason = "this module owns the clock")]
pub fn now() -> DateTime<Utc> {
    Utc::now()
}

/// The current time in milliseconds since 1970, as CloudWatch expects it.
pub fn unix_millis() -> i64 {
    now().timestamp_millis()
}

/// Whole milliseconds, the unit of the log, the metrics and the columns.
pub(crate) fn millis(took: Duration) -> i64 {
    i64::try_from(took.as_millis()).unwrap_or(i64::MAX)
}

/// A new request id, for requests that have none from Lambda.
#[expect(clippy::disallowed_methods, reason = "this module creates ids")]
pub fn request_id() -> String {
    Uuid::new_v4().to_string()
}
