//! The job queue: messages that wake a worker, and say nothing else.
//!
//! The truth about jobs is in a table, which the worker also looks into once a minute. So a
//! message that is lost costs a minute at most, and one too many finds nothing to do. Beside it goes the trace of whoever
//! sends it.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use aws_sdk_sqs::{
    Client,
    config::Builder,
    error::BoxError,
    types::{
        MessageSystemAttributeNameForSends, MessageSystemAttributeValue,
        SendMessageBatchRequestEntry,
    },
};
use tokio::time;

use crate::platform::{
    aws,
    env::Env,
    request_context::{RequestContext, Trace},
    telemetry,
};

/// What a message says.
const BODY: &str = r#"{"wake":"job-worker"}"#;
/// How many messages SQS takes at once.
const BATCH: u32 = 10;
/// The longest that SQS holds a message back, in seconds.
pub(crate) const MAX_DELAY: u64 = 900;
/// How long a caller is kept, whatever becomes of its messages.
const PATIENCE: Duration = Duration::from_secs(2);
/// Before the first of the SDK's two retries: its own second would leave no time for the other.
const BACKOFF: Duration = Duration::from_millis(100);

/// Wakes workers. A clone shares its client, which is made for the first message.
#[derive(Clone)]
pub struct JobQueue(Option<Arc<Queue>>);

struct Queue {
    url: String,
    /// What the client is made from.
    env: Env,
    client: OnceLock<Client>,
}

/// Why messages were not sent.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error("the queue did not answer in time")]
    TimedOut,
    #[error("the queue did not take all of a batch: {0}")]
    Refused(String),
    #[error("the queue did not take a batch")]
    Failed(#[source] BoxError),
}

impl JobQueue {
    /// One that wakes nobody: the schedule drives the worker alone.
    pub const fn none() -> Self {
        Self(None)
    }

    /// Reads `JOB_QUEUE_URL`. Without it nothing is ever sent: the schedule drives the worker alone.
    pub fn from_env(env: &Env) -> Self {
        Self(env.text("JOB_QUEUE_URL").map(|url| {
            Arc::new(Queue {
                url: url.to_owned(),
                env: env.clone(),
                client: OnceLock::new(),
            })
        }))
    }

    /// Wakes a worker for each of so many jobs. Never fails, and takes 2 s at most: what could not
    /// be sent is logged, and the schedule finds it.
    pub async fn notify_workers(&self, jobs: u32) {
        self.notify_workers_after(jobs, Duration::ZERO).await;
    }

    /// The same, so much later. A job that is due in more than 15 minutes, the most that SQS can
    /// wait, is left to the schedule by the worker that is woken too early.
    pub async fn notify_workers_after(&self, jobs: u32, delay: Duration) {
        let Some(queue) = &self.0 else { return };
        let mut taken = 0;
        // Boxed, for the SDK's futures are large.
        let sending = Box::pin(queue.send(jobs, whole_seconds(delay), &mut taken));
        let sent = time::timeout(PATIENCE, sending)
            .await
            .unwrap_or(Err(SendError::TimedOut));
        if let Err(err) = sent {
            let unsent = jobs.saturating_sub(taken);
            let cause = telemetry::chain(&err);
            tracing::warn!(jobs, unsent, cause, "job workers could not be woken");
        }
    }
}

impl Queue {
    /// Sends batch after batch. `taken` is right even where this is not waited for to its end.
    async fn send(&self, jobs: u32, delay: i32, taken: &mut u32) -> Result<(), SendError> {
        let client = self.client.get_or_init(|| client(&self.env));
        let origin = RequestContext::current();
        let mut refused = None;
        let mut left = jobs;
        while left > 0 {
            let size = left.min(BATCH);
            let entries = (0..size).map(|id| entry(id, delay, origin.trace()));
            let answer = client
                .send_message_batch()
                .queue_url(&self.url)
                .set_entries(Some(entries.collect::<Result<_, _>>()?))
                .send()
                .await
                .map_err(|err| SendError::Failed(err.into()))?;
            left -= size;
            *taken += u32::try_from(answer.successful.len()).unwrap_or(size);
            // SQS may take some messages of a batch and not the others.
            refused = refused.or(answer.failed.into_iter().next());
        }
        match refused {
            None => Ok(()),
            Some(entry) => Err(SendError::Refused(entry.code)),
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
    trace: Option<&Trace>,
) -> Result<SendMessageBatchRequestEntry, SendError> {
    let mut entry = SendMessageBatchRequestEntry::builder()
        .id(id.to_string())
        .message_body(BODY)
        .delay_seconds(delay);
    if let Some(trace) = trace {
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

/// Rounded up, for a worker that is woken too early finds nothing to do.
fn whole_seconds(delay: Duration) -> i32 {
    let more = u64::from(delay.subsec_nanos() > 0);
    let seconds = delay.as_secs().saturating_add(more).min(MAX_DELAY);
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_a_queue_nobody_is_woken() {
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
    fn a_delay_is_in_whole_seconds_and_never_too_short_nor_longer_than_sqs_allows() {
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
