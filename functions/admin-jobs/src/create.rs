//! `POST /api/admin/ai/trigger-jobs`: queues an event without the event bus.

use axum::{extract::State, http::StatusCode};
use common::{
    Error, Result,
    governance::auth::Admin,
    insights::jobs::{self, Connector, NewEvent},
    platform::{db::Db, error::Reason, sqs::JobQueue},
    web::{AdminProblem, BodyFailures, JobsWrite, Json, OrKey},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

#[derive(Deserialize, ToSchema)]
#[schema(as = TriggerJobBody)]
pub(crate) struct Body {
    /// `consumption.settled`, `note.created`, `task.assigned` or `etl.finished`.
    #[schema(required)]
    event_type: Option<String>,
    /// Default: the site admin's own site. Required for a platform admin.
    site_id: Option<i64>,
    #[schema(minimum = 1)]
    member_id: Option<i64>,
    /// `order_id`, `coach_id`, `note_id`, `task_id` and any other fields. At most 16 KiB.
    #[schema(value_type = Option<Object>)]
    payload: Option<Map<String, Value>>,
    /// Runs the event even if it is a duplicate of today or its results are still valid.
    is_forced: Option<bool>,
}

/// The job of an event.
#[derive(Serialize, ToSchema)]
pub(crate) struct Created {
    id: i64,
    /// `pending`. If the same event was queued before on the same business date,
    /// `skipped_duplicate`.
    status: &'static str,
}

/// Queues a job for an event. Machine keys need the scope `jobs:write`.
#[utoipa::path(
    post, path = "/api/admin/ai/trigger-jobs", tag = "admin", security(("bearer" = [])),
    request_body = Body,
    responses(
        (status = 202, body = Created),
        BodyFailures<AdminProblem>,
    ),
)]
pub(crate) async fn create_job(
    State(db): State<Db>,
    State(queue): State<JobQueue>,
    OrKey(admin, ..): OrKey<Admin, JobsWrite>,
    Json(body): Json<Body>,
) -> Result<(StatusCode, Json<Created>)> {
    let event = body.parse(&admin)?;
    let job = jobs::enqueue(&db, &event, Connector::AdminApi(admin.actor()), None).await?;
    if job.is_pending() {
        queue.notify_workers(1).await;
    }
    let created = Created {
        id: job.id,
        status: job.status.name(),
    };
    Ok((StatusCode::ACCEPTED, Json(created)))
}

impl Body {
    fn parse(self, admin: &Admin) -> Result<NewEvent> {
        let event_type = self
            .event_type
            .ok_or(Error::invalid("event_type", Reason::Missing))?;
        NewEvent::parse(
            &event_type,
            admin.site(self.site_id)?,
            self.member_id,
            self.payload.unwrap_or_default(),
            self.is_forced.unwrap_or_default(),
        )
    }
}
