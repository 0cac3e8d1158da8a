//! Trigger jobs: work in the background. An event sets off a chain of apps; each result is stored,
//! where the next app, and people, find it.
//!
//! `event` parses what comes in, `chain` names the apps that follow, `queue` is the table and its
//! transitions, `step` asks one app, `run` opens and settles the run of that call, `prompt_input`
//! reads what its prompt needs, `worker` drives all of it. `prewarm` queues what will be needed,
//! `list` and `detail` show jobs to admins, `retry` starts one again. The job of a session's message
//! is handed to `SessionReplies`.

mod chain;
mod detail;
mod event;
mod list;
mod prewarm;
mod prompt_input;
mod queue;
mod retry;
mod run;
mod step;
mod worker;

pub use detail::{JobWithRuns, RunOfJob, find};
pub use event::{EventType, NewEvent};
pub use list::{JobItem, JobPage, JobQuery, Status, list};
pub use prewarm::{Prewarmed, prewarm};
pub use queue::{Connector, Enqueued, SweptJobs, enqueue, sweep};
pub(crate) use queue::{Job, LEASE};
pub use retry::retry;
pub(crate) use step::{PATIENCE, StepError, lease_lost, retry_storing, step_error};
pub(crate) use worker::{JobContext, SessionReplies, SessionReplyOutcome};
pub use worker::{JobLimits, Worked, Worker, after_a_minute};
