//! Runs: one row for each call of an app.
//!
//! Jobs (`insights::jobs::run`) and replies (`chat`) open a run before their call and settle it after
//! the call with a [`RunEnd`]. Admins list runs (`list`), look at one (`details`) or export them
//! (`export`). `partitions` makes and drops the log's months.

mod details;
mod end;
mod export;
mod list;
mod partitions;

use chrono::{DateTime, Utc};

pub use details::{LoggedRun, find};
pub use end::RunEnd;
pub use export::{MAX_DAYS, export};
pub use list::{Entry, RunFilters, RunQuery, Status, Trigger, list};
pub use partitions::{Retention, drop_partitions, make_partitions};

/// A run that is open. Its time is a part of its key, for the log is partitioned by it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub id: i64,
    pub created_at: DateTime<Utc>,
}
