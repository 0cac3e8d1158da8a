//! Runs trigger jobs. Messages of the job queue wake it. A schedule also invokes it every minute,
//! for jobs whose message was lost.
//!
//! Only the table says which jobs are due. A duplicate or late message, or a message without a due
//! job, does no harm.

use std::collections::BTreeSet;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use common::{
    chat::session_replies,
    insights::jobs::{self, Worked, Worker},
    platform::{
        env::{ConfigError, Env},
        request_context::{self, RequestContext, Trace},
        sqs::TRACEPARENT,
        time_limit::TimeLimit,
    },
};
use lambda::Invocation;
use serde::{Deserialize, Serialize};

/// The event of an invocation.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Event {
    /// Messages of the job queue, one per job.
    Messages(SqsEvent),
    /// A schedule or a manual invocation.
    Schedule {},
}

/// The result of an invocation.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Output {
    /// The messages that SQS must deliver again.
    Messages(SqsBatchResponse),
    /// Counts of the jobs.
    Schedule(Worked),
}

/// Jobs could not be claimed. A scheduled invocation fails with it, which triggers an alarm. Jobs
/// that were claimed earlier have run.
#[derive(Debug, thiserror::Error)]
#[error("jobs could not be claimed")]
pub struct ClaimFailed;

/// Builds the worker, configured by the environment.
pub async fn from_env(env: Env) -> Result<Worker, ConfigError> {
    session_replies::worker_from_env(&env).await
}

/// Runs jobs until none is due or the invocation is near its timeout.
///
/// A scheduled invocation claims jobs for one minute only, until the next one starts. Otherwise
/// scheduled invocations would accumulate: only the number of invocations by messages is limited.
pub async fn work(worker: Worker, invocation: Invocation<Event>) -> Result<Output, ClaimFailed> {
    let ends_at = match &invocation.event {
        Event::Messages(_) => invocation.ends_at,
        Event::Schedule {} => {
            let at = jobs::after_a_minute();
            Some(invocation.ends_at.map_or(at, |ends_at| ends_at.min(at)))
        }
    };
    link(&invocation.event);
    let done = request_context::follow(trace(&invocation.event), run(&worker, ends_at)).await;
    match invocation.event {
        Event::Messages(messages) => Ok(Output::Messages(to_deliver_again(messages, done))),
        Event::Schedule {} if done.unreachable => Err(ClaimFailed),
        Event::Schedule {} => Ok(Output::Schedule(done)),
    }
}

/// Runs jobs until none is due or the limit is near.
pub async fn run(worker: &Worker, limit: impl Into<TimeLimit>) -> Worked {
    let done = worker.run(limit).await;
    if done != Worked::IDLE {
        tracing::info!(
            claimed = done.claimed,
            succeeded = done.succeeded,
            failed = done.failed,
            given_back = done.given_back,
            drained = done.drained,
            "jobs processed"
        );
    }
    done
}

/// The trace of the first message that has one. An invocation has one trace, even if its jobs were
/// queued by several requests.
fn trace(event: &Event) -> Option<Trace> {
    let Event::Messages(messages) = event else {
        return None;
    };
    let headers = messages.records.iter();
    let mut headers = headers.filter_map(|message| message.attributes.get("AWSTraceHeader"));
    headers.find_map(|header| Trace::parse(header))
}

/// Links the span of the invocation to those of the requests that sent the messages.
fn link(event: &Event) {
    let Event::Messages(messages) = event else {
        return;
    };
    let senders = messages.records.iter();
    let senders = senders.filter_map(|message| message.message_attributes.get(TRACEPARENT));
    let senders: BTreeSet<_> = senders
        .filter_map(|sender| sender.string_value.as_deref())
        .collect();
    let invocation = RequestContext::current();
    for sender in senders {
        invocation.span().link(sender);
    }
}

/// The messages that SQS must deliver again. Each message stands for one job. If jobs may be left,
/// the messages in excess of the claimed jobs are delivered again, to wake another worker.
fn to_deliver_again(messages: SqsEvent, worked: Worked) -> SqsBatchResponse {
    let handled = if worked.drained {
        messages.records.len()
    } else {
        usize::try_from(worked.claimed).unwrap_or(usize::MAX)
    };
    let mut response = SqsBatchResponse::default();
    for message in messages.records.into_iter().skip(handled) {
        response.add_failure(message.message_id.unwrap_or_default());
    }
    response
}
