//! Runs: the log of all calls to apps, one row per call.
//!
//! Jobs (`insights::jobs::run`) and replies (`chat`) open a run before their call. After the call
//! they finish it with a [`RunEnd`]. `fallback` moves a run to another application. Admins list
//! runs (`list`), view one (`details`) and export them (`export`). `partitions` creates and drops
//! the monthly partitions of the log.

mod details;
mod end;
mod export;
mod fallback;
mod list;
mod partitions;

use chrono::{DateTime, Utc};

pub use details::{LoggedRun, ModelCost, find};
pub use end::RunEnd;
pub use export::{MAX_DAYS, export};
pub(crate) use fallback::fall_back;
pub use list::{Entry, RunFilters, RunQuery, Status, Trigger, list};
pub use partitions::{Retention, drop_partitions, make_partitions};

/// The key of an open run. The log is partitioned by `created_at`, so that is part of the key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub id: i64,
    pub created_at: DateTime<Utc>,
    /// Charged for each try of unknown usage.
    pub reserved_tokens: i64,
}
