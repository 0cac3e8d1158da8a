//! Trigger jobs: work that nobody waits for. An event sets off a chain of apps; each answer goes to the
//! cache, where the next app, and people, find it.
//!
//! `event` is what may come in, `chain` which apps follow, `queue` the table and its moves, `step` how one
//! app is asked and `question` what, `reply` is the reply of a bot to a message, `worker` what drives it all, `prewarm` what is queued before anybody
//! asks, `list` and `detail` what admins see, `retry` what they have done again.

mod chain;
mod detail;
mod event;
mod list;
mod prewarm;
mod question;
mod queue;
mod reply;
mod retry;
mod step;
mod worker;

pub use detail::{Detail, RunOfJob, find};
pub use event::{EventType, NewEvent};
pub use list::{ListQuery, Listing, Status, Summary, list};
pub use prewarm::{Prewarmed, prewarm};
pub use queue::{Connector, Enqueued, enqueue};
pub use retry::retry;
pub use worker::{Worked, Worker, after_a_minute};
