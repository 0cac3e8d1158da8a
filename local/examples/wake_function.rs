//! A function for the tests of the job queue: it wakes as many workers as the event says.

use std::{convert::Infallible, time::Duration};

use common::platform::sqs::JobQueue;
use lambda::Invocation;
use serde::Deserialize;

#[derive(Deserialize)]
struct Wake {
    jobs: u32,
    delay_ms: Option<u64>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::handle(async |env| Ok(JobQueue::from_env(&env)), wake).await
}

async fn wake(
    queue: JobQueue,
    Invocation { event, .. }: Invocation<Wake>,
) -> Result<(), Infallible> {
    match event.delay_ms {
        None => queue.notify_workers(event.jobs).await,
        Some(delay) => {
            let delay = Duration::from_millis(delay);
            queue.notify_workers_after(event.jobs, delay).await;
        }
    }
    Ok(())
}
