//! `POST /api/admin/ai/trigger-jobs/{id}/retry`: retries a job.

use axum::{extract::State, http::StatusCode};
use common::{
    Result,
    governance::auth::Admin,
    insights::jobs,
    platform::{db::Db, sqs::JobQueue},
    web::{AdminProblem, ItemFailures, Json, PathText, QueryText},
};
use serde::Serialize;
use utoipa::ToSchema;

/// The new job.
#[derive(Serialize, ToSchema)]
pub(crate) struct Retried {
    id: i64,
}

/// Retries a job as a new job.
///
/// It begins with the step that failed, or with the first step if none failed. From that step on,
/// cached results are not used.
#[utoipa::path(
    post, path = "/api/admin/ai/trigger-jobs/{id}/retry", tag = "admin", security(("bearer" = [])),
    params(
        ("id" = i64, Path, minimum = 1),
        ("site_id" = Option<i64>, Query, description = "Default: the site admin's own site; required for a platform admin", minimum = 1),
    ),
    responses(
        (status = 201, body = Retried),
        ItemFailures<AdminProblem>, (status = 409, body = AdminProblem),
    ),
)]
pub(crate) async fn retry_job(
    State(db): State<Db>,
    State(queue): State<JobQueue>,
    admin: Admin,
    path: PathText,
    query: QueryText,
) -> Result<(StatusCode, Json<Retried>)> {
    let site_id = admin.site_in(&query)?;
    let id = jobs::retry(&db, site_id, admin.user_id, path.id("id")?).await?;
    queue.notify_workers(1).await;
    Ok((StatusCode::CREATED, Json(Retried { id })))
}
