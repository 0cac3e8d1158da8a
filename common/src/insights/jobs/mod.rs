//! Trigger jobs: background work. An event starts a chain of applications. Each result is stored,
//! so that users and later applications of the chain can read it.
//!
//! - `event` parses events. `chain` lists the applications that follow.
//! - `queue` has the table of jobs and its transitions.
//! - `worker` runs jobs. `step` calls one application. `run` opens and settles the run of a call.
//! - `prewarm` queues jobs for results before users need them.
//! - `list` and `detail` show jobs to admins. `retry` queues a job again, and `waiting` cancels a
//!   job or runs it now. `bulk` retries or cancels all jobs that match a filter.
//! - `SessionReplies` makes the reply to a message of a session.

mod bulk;
mod chain;
mod detail;
mod event;
mod list;
mod prewarm;
mod queue;
mod retry;
mod run;
mod step;
mod waiting;
mod worker;

pub use bulk::{JobFilter, cancel_all, retry_all};
pub use detail::{JobWithRuns, RunOfJob, find};
pub use event::{EventType, NewEvent};
pub use list::{
    JobCount, JobItem, JobPage, JobQuery, MAX_OF_STATUS, Status, WaitingFor, count_by_status, list,
};
pub use prewarm::{
    FilterState, PrewarmItem, PrewarmSchedule, Prewarmed, prewarm, prewarm_matrix, prewarm_site,
};
pub use queue::{Connector, Enqueued, SweptJobs, enqueue, sweep};
pub(crate) use queue::{Job, LEASE};
pub use retry::retry;
pub(crate) use step::{PATIENCE, StepError, lease_lost, retry_storing, step_error};
pub use waiting::{cancel, run_now};
pub(crate) use worker::{JobContext, SessionReplies, SessionReplyOutcome};
pub use worker::{JobLimits, Worked, Worker, after_a_minute};

/// How often a job is tried. A wait, for example for the budget, is not a try.
const MAX_TRIES: i32 = 5;
/// How often a bot's reply is tried. It is less, because a person waits for it.
pub(crate) const MAX_REPLY_TRIES: i32 = 3;
