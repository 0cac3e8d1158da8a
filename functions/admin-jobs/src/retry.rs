//! `POST /api/admin/ai/trigger-jobs/{id}/retry`: a job once more.

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

/// Starts a job again, from the step that failed; from the first where none did. What it asks from there on is
/// asked anew.
#[utoipa::path(
    post, path = "/api/admin/ai/trigger-jobs/{id}/retry", tag = "admin", security(("bearer" = [])),
    params(
        ("id" = i64, Path, minimum = 1),
        ("site_id" = Option<i64>, Query, description = "A site admin's own, where it is left out", minimum = 1),
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
