//! Time and chance, so that nobody else asks for them, and what day it is for a site.
//!
//! The time of a row is always the database's: function instances disagree by seconds.

use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

use crate::{
    db::{Bounded, Db},
    error::{Error, Result},
};

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

/// A site's clock: live, or pinned to a day so that staging and demos are repeatable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeClock {
    /// `live` or `sandbox`.
    pub mode: String,
    /// The day that it is for the site.
    pub business_date: NaiveDate,
    /// Now; in the sandbox that day with the real time of day.
    pub now: DateTime<Utc>,
    /// The site's zone, by its IANA name.
    pub timezone: String,
}

/// The clock of a site.
///
/// # Errors
/// [`Error::NotFound`] where there is no such site.
pub async fn runtime(db: &Db, site_id: i64) -> Result<RuntimeClock> {
    sqlx::query_as!(
        RuntimeClock,
        r#"
        select runtime_mode as mode, timezone, biz.business_date(runtime_mode, sandbox_date, timezone) as "business_date!",
               (biz.business_date(runtime_mode, sandbox_date, timezone) + (now() at time zone timezone)::time)
                   at time zone timezone as "now!"
        from biz.sites where id = $1
        "#,
        site_id,
    )
    .fetch_optional(db)
    .bounded()
    .await?
    .ok_or(Error::NotFound)
}
