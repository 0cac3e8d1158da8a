//! Queues jobs for events that the business backend puts on the event bus (`source:
//! parlor.business`, four detail types).

use aws_lambda_events::eventbridge::EventBridgeEvent;
use common::{
    Error,
    insights::jobs::{self, Connector, NewEvent},
    platform::{
        db::{self, DatabaseConfig, Db},
        env::{ConfigError, Env},
        sqs::JobQueue,
        telemetry,
    },
};
use lambda::Invocation;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The `detail` of an event.
#[derive(Debug, Deserialize)]
struct Detail {
    site_id: i64,
    member_id: Option<i64>,
    #[serde(default)]
    payload: Map<String, Value>,
    #[serde(default)]
    is_forced: bool,
}

#[derive(Clone)]
#[expect(missing_docs, reason = "plain data")]
pub struct AppState {
    pub db: Db,
    pub queue: JobQueue,
}

/// The job of an event.
#[derive(Debug, Serialize)]
pub struct Dispatched {
    id: i64,
    status: &'static str,
}

/// An event could not be queued. Lambda retries it and then moves it to the dead-letter queue,
/// where people can inspect it.
#[derive(Debug, thiserror::Error)]
pub enum DispatchFailed {
    /// The event is invalid. A retry does not help.
    #[error("the event is refused: {0}")]
    Refused(String),
    /// The event could not be stored. The cause is in the log.
    #[error("the event could not be stored")]
    Unavailable,
}

/// Builds the state, configured by the environment.
pub async fn from_env(env: Env) -> Result<AppState, ConfigError> {
    Ok(AppState {
        db: db::connect_lazy(&DatabaseConfig::from_env(&env).await?)?,
        queue: JobQueue::from_env(&env),
    })
}

/// Queues an event and wakes a worker for it.
pub async fn dispatch(
    state: AppState,
    invocation: Invocation<EventBridgeEvent<Value>>,
) -> Result<Dispatched, DispatchFailed> {
    let EventBridgeEvent {
        id,
        detail_type,
        detail,
        ..
    } = invocation.event;
    let event = parse(&detail_type, detail)?;
    let job = jobs::enqueue(&state.db, &event, Connector::EventBus, id.as_deref())
        .await
        .map_err(failed)?;
    if job.is_pending() {
        state.queue.notify_workers(1).await;
    }
    let (id, status) = (job.id, job.status.name());
    tracing::info!(
        job_id = id,
        status,
        event_type = detail_type,
        "event queued"
    );
    Ok(Dispatched { id, status })
}

fn parse(detail_type: &str, detail: Value) -> Result<NewEvent, DispatchFailed> {
    let detail: Detail = serde_json::from_value(detail)
        .map_err(|err| DispatchFailed::Refused(format!("detail: {err}")))?;
    NewEvent::parse(
        detail_type,
        detail.site_id,
        detail.member_id,
        detail.payload,
        detail.is_forced,
    )
    .map_err(failed)
}

fn failed(err: Error) -> DispatchFailed {
    match err {
        Error::Invalid { .. } => DispatchFailed::Refused(err.to_string()),
        Error::NotFound => DispatchFailed::Refused("there is no such site".to_owned()),
        err => {
            tracing::error!(
                cause = telemetry::chain(&err),
                "an event could not be stored"
            );
            DispatchFailed::Unavailable
        }
    }
}
