//! The job queue. Its messages only wake a worker.
//!
//! Jobs are rows of a table, which a worker also checks once a minute. So a lost message delays a
//! job by at most a minute, and a surplus message does no harm. Each message has the X-Ray trace
//! and the span of its sender.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use aws_sdk_sqs::{
    Client,
    config::Builder,
    error::BoxError,
    types::{
        MessageAttributeValue, MessageSystemAttributeNameForSends, MessageSystemAttributeValue,
        SendMessageBatchRequestEntry,
    },
};
use tokio::time;

use crate::platform::{aws, env::Env, request_context::RequestContext, telemetry};

/// The most workers that one request of an admin wakes. The schedule starts another every minute.
const MAX_WOKEN: u32 = 10;

/// The body of every message.
const BODY: &str = r#"{"wake":"job-worker"}"#;
/// The attribute of a message with the span of its sender.
pub const TRACEPARENT: &str = "traceparent";
/// The limit of SQS for messages in one request.
const MAX_BATCH: u32 = 10;
/// The limit of SQS for the delay of a message, in seconds.
pub(crate) const MAX_DELAY: u64 = 900;
/// Sending ends after this time, so that the caller does not wait longer.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause before the first of the SDK's two retries. With its default of 1 s, the second retry
/// would not fit into the timeout.
const BACKOFF: Duration = Duration::from_millis(100);

/// Wakes workers. Clones share the client, which is built for the first message.
#[derive(Clone)]
pub struct JobQueue(Option<Arc<Queue>>);

struct Queue {
    url: String,
    env: Env,
    client: OnceLock<Client>,
}

/// Why messages were not sent.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error("the queue did not respond in time")]
    TimedOut,
    #[error("the queue rejected part of a batch: {0}")]
    Rejected(String),
    #[error("a batch could not be sent to the queue")]
    Failed(#[source] BoxError),
}

impl JobQueue {
    /// A queue that sends nothing. Only the schedule starts the worker.
    pub const fn none() -> Self {
        Self(None)
    }

    /// Reads `JOB_QUEUE_URL`. Without it, this is [`Self::none`].
    pub fn from_env(env: &Env) -> Self {
        Self(env.text("JOB_QUEUE_URL").map(|url| {
            Arc::new(Queue {
                url: url.to_owned(),
                env: env.clone(),
                client: OnceLock::new(),
            })
        }))
    }

    /// Sends one message for each job. Never fails, and takes at most 2 s.
    ///
    /// Messages that could not be sent are logged. The schedule finds their jobs.
    pub async fn notify_workers(&self, jobs: u32) {
        self.notify_workers_after(jobs, Duration::ZERO).await;
    }

    /// As [`Self::notify_workers`], for the jobs of one request of an admin. Wakes at most 10: each
    /// worker runs jobs until none is due.
    pub async fn wake_for(&self, jobs: i64) {
        let most = MAX_WOKEN.into();
        let jobs = u32::try_from(jobs.clamp(0, most)).unwrap_or(MAX_WOKEN);
        self.notify_workers(jobs).await;
    }

    /// As [`Self::notify_workers`], after a delay. SQS allows at most 15 minutes. If a job is due
    /// later, the worker wakes too early and leaves the job to the schedule.
    pub async fn notify_workers_after(&self, jobs: u32, delay: Duration) {
        let Some(queue) = &self.0 else { return };
        let mut accepted = 0;
        // Boxed because the SDK's futures are large.
        let sending = Box::pin(queue.send(jobs, whole_seconds(delay), &mut accepted));
        let sent = time::timeout(SEND_TIMEOUT, sending)
            .await
            .unwrap_or(Err(SendError::TimedOut));
        if let Err(err) = sent {
            let unsent = jobs.saturating_sub(accepted);
            let cause = telemetry::chain(&err);
            tracing::warn!(jobs, unsent, cause, "job workers could not be woken");
        }
    }
}

impl Queue {
    /// Sends all batches. `accepted` is correct even if the future is dropped early.
    async fn send(&self, jobs: u32, delay: i32, accepted: &mut u32) -> Result<(), SendError> {
        let client = self.client.get_or_init(|| client(&self.env));
        let origin = RequestContext::current();
        let mut rejected = None;
        let mut left = jobs;
        while left > 0 {
            let size = left.min(MAX_BATCH);
            let entries = (0..size).map(|id| entry(id, delay, &origin));
            let response = client
                .send_message_batch()
                .queue_url(&self.url)
                .set_entries(Some(entries.collect::<Result<_, _>>()?))
                .send()
                .await
                .map_err(|err| SendError::Failed(err.into()))?;
            left -= size;
            *accepted += u32::try_from(response.successful.len()).unwrap_or(size);
            // SQS may reject some messages of a batch and accept the others.
            rejected = rejected.or(response.failed.into_iter().next());
        }
        match rejected {
            None => Ok(()),
            Some(entry) => Err(SendError::Rejected(entry.code)),
        }
    }
}

fn client(env: &Env) -> Client {
    let config = Builder::from(&aws::config(|name| env.text(name)))
        .retry_config(aws::retries().with_initial_backoff(BACKOFF));
    Client::from_conf(config.build())
}

fn entry(
    id: u32,
    delay: i32,
    origin: &RequestContext,
) -> Result<SendMessageBatchRequestEntry, SendError> {
    let mut entry = SendMessageBatchRequestEntry::builder()
        .id(id.to_string())
        .message_body(BODY)
        .delay_seconds(delay);
    if let Some(span) = origin.span().traceparent() {
        let attribute = MessageAttributeValue::builder()
            .data_type("String")
            .string_value(span)
            .build()
            .map_err(|err| SendError::Failed(err.into()))?;
        entry = entry.message_attributes(TRACEPARENT, attribute);
    }
    if let Some(trace) = origin.trace() {
        let header = MessageSystemAttributeValue::builder()
            .data_type("String")
            .string_value(trace.header())
            .build()
            .map_err(|err| SendError::Failed(err.into()))?;
        entry = entry
            .message_system_attributes(MessageSystemAttributeNameForSends::AwsTraceHeader, header);
    }
    entry.build().map_err(|err| SendError::Failed(err.into()))
}

/// Rounds up: a worker that wakes before a job is due finds nothing to do.
fn whole_seconds(delay: Duration) -> i32 {
    let more = u64::from(delay.subsec_nanos() > 0);
    let seconds = delay.as_secs().saturating_add(more).min(MAX_DELAY);
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_is_sent_without_a_queue() {
        for env in [
            Env::from_pairs([("JOB_QUEUE_URL", "")]),
            Env::from_pairs([("A", "b")]),
        ] {
            let queue = JobQueue::from_env(&env);
            assert!(queue.0.is_none());
            queue.notify_workers(3).await;
        }
    }

    #[test]
    fn delay_is_rounded_up_to_seconds_and_capped_at_the_limit_of_sqs() {
        for (delay, seconds) in [
            (Duration::ZERO, 0),
            (Duration::from_millis(1), 1),
            (Duration::from_secs(30), 30),
            (Duration::new(30, 1), 31),
            (Duration::from_secs(900), 900),
            (Duration::new(900, 1), 900),
            (Duration::MAX, 900),
        ] {
            assert_eq!(whole_seconds(delay), seconds, "{delay:?}");
        }
    }
}
