//! `POST /api/admin/ai/trigger-jobs/{id}/cancel` and `…/run-now`: what an admin does with a pending
//! job.

use axum::{extract::State, http::StatusCode};
use common::{
    Result,
    governance::auth::Admin,
    insights::jobs,
    platform::{db::Db, sqs::JobQueue},
    web::{AdminProblem, ItemFailures, PathText, QueryText},
};

/// Cancels a pending job. It never runs. A reply to a message of a session cannot be cancelled.
#[utoipa::path(
    post, path = "/api/admin/ai/trigger-jobs/{id}/cancel", tag = "admin", security(("bearer" = [])),
    params(
        ("id" = i64, Path, minimum = 1),
        ("site_id" = Option<i64>, Query, description = "Default: the site admin's own site; required for a platform admin", minimum = 1),
    ),
    responses(
        (status = 204),
        ItemFailures<AdminProblem>, (status = 409, body = AdminProblem),
    ),
)]
pub(crate) async fn cancel_job(
    State(db): State<Db>,
    admin: Admin,
    path: PathText,
    query: QueryText,
) -> Result<StatusCode> {
    let site_id = admin.site_in(&query)?;
    jobs::cancel(&db, site_id, admin.user_id, path.id("id")?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Runs a pending job without waiting until `waits_until`. If the budget or the circuit still
/// refuses it, it waits again.
#[utoipa::path(
    post, path = "/api/admin/ai/trigger-jobs/{id}/run-now", tag = "admin", security(("bearer" = [])),
    params(
        ("id" = i64, Path, minimum = 1),
        ("site_id" = Option<i64>, Query, description = "Default: the site admin's own site; required for a platform admin", minimum = 1),
    ),
    responses(
        (status = 204),
        ItemFailures<AdminProblem>, (status = 409, body = AdminProblem),
    ),
)]
pub(crate) async fn run_job_now(
    State(db): State<Db>,
    State(queue): State<JobQueue>,
    admin: Admin,
    path: PathText,
    query: QueryText,
) -> Result<StatusCode> {
    let site_id = admin.site_in(&query)?;
    jobs::run_now(&db, site_id, admin.user_id, path.id("id")?).await?;
    queue.notify_workers(1).await;
    Ok(StatusCode::NO_CONTENT)
}
