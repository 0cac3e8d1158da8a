//! `POST /api/admin/ai/trigger-jobs/{id}/cancel` and `…/run-now`: what an admin does with a job
//! that has not ended.

use axum::{extract::State, http::StatusCode};
use common::{
    Result,
    governance::auth::Admin,
    insights::jobs::{self, Status},
    platform::{db::Db, sqs::JobQueue},
    web::{AdminProblem, ItemFailures, Json, PathText, QueryText},
};
use serde::Serialize;
use utoipa::ToSchema;

/// A job that an admin changed.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChangedJob {
    id: i64,
    /// `cancelled`, `pending`, or `running` if the job ends after its step.
    status: &'static str,
    /// True if the running job ends after its step.
    cancel_requested: bool,
}

impl ChangedJob {
    fn new(id: i64, status: Status) -> (StatusCode, Json<Self>) {
        let changed = Self {
            id,
            status: status.name(),
            cancel_requested: status == Status::Running,
        };
        (StatusCode::ACCEPTED, Json(changed))
    }
}

/// Cancels a job: a pending one at once, a running one after its step. A reply to a message of a
/// session cannot be cancelled.
#[utoipa::path(
    post, path = "/api/admin/ai/trigger-jobs/{id}/cancel", tag = "admin", security(("bearer" = [])),
    params(
        ("id" = i64, Path, minimum = 1),
        ("site_id" = Option<i64>, Query, description = "Default: the site admin's own site; required for a platform admin", minimum = 1),
    ),
    responses(
        (status = 202, body = ChangedJob),
        ItemFailures<AdminProblem>, (status = 409, body = AdminProblem),
    ),
)]
pub(crate) async fn cancel_job(
    State(db): State<Db>,
    admin: Admin,
    path: PathText,
    query: QueryText,
) -> Result<(StatusCode, Json<ChangedJob>)> {
    let site_id = admin.site_in(&query)?;
    let id = path.id("id")?;
    let status = jobs::cancel(&db, site_id, admin.user_id, id).await?;
    Ok(ChangedJob::new(id, status))
}

/// Runs a pending job without waiting until `run_after`. If the budget or the circuit still refuses
/// it, it waits again.
#[utoipa::path(
    post, path = "/api/admin/ai/trigger-jobs/{id}/run-now", tag = "admin", security(("bearer" = [])),
    params(
        ("id" = i64, Path, minimum = 1),
        ("site_id" = Option<i64>, Query, description = "Default: the site admin's own site; required for a platform admin", minimum = 1),
    ),
    responses(
        (status = 202, body = ChangedJob),
        ItemFailures<AdminProblem>, (status = 409, body = AdminProblem),
    ),
)]
pub(crate) async fn run_job_now(
    State(db): State<Db>,
    State(queue): State<JobQueue>,
    admin: Admin,
    path: PathText,
    query: QueryText,
) -> Result<(StatusCode, Json<ChangedJob>)> {
    let site_id = admin.site_in(&query)?;
    let id = path.id("id")?;
    jobs::run_now(&db, site_id, admin.user_id, id).await?;
    queue.notify_workers(1).await;
    Ok(ChangedJob::new(id, Status::Pending))
}
