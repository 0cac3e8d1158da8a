//! Runs trigger jobs: woken by messages of the job queue, and each minute by a schedule for those that no
//! message woke. What there is to do stands in the table alone, so a message that comes twice, late or
//! without its job does no harm.

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use common::{
    chat::session_replies,
    insights::jobs::{self, Worked, Worker},
    platform::{
        env::{ConfigError, Env},
        request_context::{self, Trace},
    },
};
use lambda::Invocation;
use serde::{Deserialize, Serialize};

/// What wakes it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Event {
    /// Messages, each sent for one job.
    Messages(SqsEvent),
    /// A schedule, or somebody by hand.
    Schedule {},
}

/// What it answers to each.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Output {
    /// The messages that must come again.
    Messages(SqsBatchResponse),
    /// What was done.
    Schedule(Worked),
}

/// Why a schedule's invocation has failed: an alarm should know. What was claimed before was done.
#[derive(Debug, thiserror::Error)]
#[error("jobs could not be claimed")]
pub struct ClaimFailed;

/// The worker that the environment describes.
pub async fn from_env(env: Env) -> Result<Worker, ConfigError> {
    session_replies::worker_from_env(&env).await
}

/// Works until nothing is due or the invocation nears its end. One that the schedule began claims for a minute: then
/// there is the next, and those that messages wake, which alone are bounded in number.
pub async fn work(worker: Worker, invocation: Invocation<Event>) -> Result<Output, ClaimFailed> {
    let ends_at = match &invocation.event {
        Event::Messages(_) => invocation.ends_at,
        Event::Schedule {} => {
            let at = jobs::after_a_minute();
            Some(invocation.ends_at.map_or(at, |ends_at| ends_at.min(at)))
        }
    };
    let done = request_context::follow(trace(&invocation.event), worker.run(ends_at)).await;
    if done != Worked::IDLE {
        tracing::info!(
            claimed = done.claimed,
            succeeded = done.succeeded,
            failed = done.failed,
            given_back = done.given_back,
            drained = done.drained,
            "worked"
        );
    }
    match invocation.event {
        Event::Messages(messages) => Ok(Output::Messages(unanswered(messages, done))),
        Event::Schedule {} if done.unreachable => Err(ClaimFailed),
        Event::Schedule {} => Ok(Output::Schedule(done)),
    }
}

/// The trace of whoever sent the first message that has one: one invocation has one, whatever it finds to do.
fn trace(event: &Event) -> Option<Trace> {
    let Event::Messages(messages) = event else {
        return None;
    };
    let headers = messages.records.iter();
    let mut headers = headers.filter_map(|message| message.attributes.get("AWSTraceHeader"));
    headers.find_map(|header| Trace::parse(header))
}

/// Each message was to wake somebody for one job. Where jobs may be left, those that woke nobody do so again.
fn unanswered(messages: SqsEvent, worked: Worked) -> SqsBatchResponse {
    let answered = if worked.drained {
        messages.records.len()
    } else {
        usize::try_from(worked.claimed).unwrap_or(usize::MAX)
    };
    let mut response = SqsBatchResponse::default();
    for message in messages.records.into_iter().skip(answered) {
        response.add_failure(message.message_id.unwrap_or_default());
    }
    response
}
