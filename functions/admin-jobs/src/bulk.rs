//! `POST /api/admin/ai/trigger-jobs/retry` and `…/cancel`: all jobs that match a filter.

use axum::{extract::State, http::StatusCode};
use common::{
    Error, Result,
    governance::auth::Admin,
    insights::jobs::{self, EventType, JobFilter, Status},
    platform::{dates::DateRange, db::Db, error::Reason, sqs::JobQueue},
    web::{AdminProblem, BodyFailures, Json, QueryText, uuid},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The most jobs of one request.
const MAX_JOBS: i64 = 100_000;

#[derive(Deserialize, ToSchema)]
#[schema(as = BulkJobsBody)]
pub(crate) struct Body {
    /// Selects jobs of one site. Empty: all of them.
    #[schema(required)]
    filter: Option<Filter>,
    /// The number of jobs that match.
    #[schema(required, minimum = 1, maximum = 100_000)]
    expected: Option<i64>,
    /// Default: the site admin's own site. Required for a platform admin.
    site_id: Option<i64>,
}

/// Selects jobs.
#[derive(Deserialize, ToSchema)]
#[schema(as = BulkJobsFilter)]
pub(crate) struct Filter {
    /// As in the list of jobs.
    event_type: Option<String>,
    /// As in the list of jobs. Default: `failed` to retry; `pending` and `running` to cancel.
    status: Option<String>,
    /// As in the list of jobs.
    batch_id: Option<String>,
    /// As in the list of jobs.
    date_from: Option<String>,
    /// As in the list of jobs.
    date_to: Option<String>,
}

impl Filter {
    fn parse(&self) -> Result<JobFilter> {
        let unknown = |field| Error::invalid(field, Reason::Unknown);
        let event_type = self.event_type.as_deref();
        let status = self.status.as_deref();
        Ok(JobFilter {
            event_type: event_type
                .map(|word| EventType::parse(word).ok_or(unknown("event_type")))
                .transpose()?,
            status: status
                .map(|word| Status::parse(word).ok_or(unknown("status")))
                .transpose()?,
            batch_id: self
                .batch_id
                .as_deref()
                .map(|id| uuid("batch_id", id))
                .transpose()?,
            dates: DateRange::new(self.date_from.as_deref(), self.date_to.as_deref())?,
        })
    }
}

impl Body {
    fn parse(&self) -> Result<(JobFilter, i64)> {
        let missing = |field| Error::invalid(field, Reason::Missing);
        let filter = self.filter.as_ref().ok_or(missing("filter"))?.parse()?;
        let expected = self.expected.ok_or(missing("expected"))?;
        if (1..=MAX_JOBS).contains(&expected) {
            Ok((filter, expected))
        } else {
            Err(Error::invalid("expected", Reason::OutOfRange(1, MAX_JOBS)))
        }
    }
}

/// The result of a change of many jobs.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChangedJobs {
    /// Less than expected if some jobs ended meanwhile, or if 20 s were not enough.
    changed: i64,
}

/// Retries all failed jobs that match, if their number is the expected one. Another final status is
/// retried if the filter names it. Jobs that have a retry do not match.
#[utoipa::path(
    post, path = "/api/admin/ai/trigger-jobs/retry", tag = "admin", security(("bearer" = [])),
    params(
        ("site_id" = Option<i64>, Query, description = "Instead of `site_id` in the body", minimum = 1),
    ),
    request_body = Body,
    responses(
        (status = 202, body = ChangedJobs),
        BodyFailures<AdminProblem>, (status = 409, body = AdminProblem),
    ),
)]
pub(crate) async fn retry_jobs(
    State(db): State<Db>,
    State(queue): State<JobQueue>,
    admin: Admin,
    query: QueryText,
    Json(body): Json<Body>,
) -> Result<(StatusCode, Json<ChangedJobs>)> {
    let site_id = admin.site_of(body.site_id, &query)?;
    let (filter, expected) = body.parse()?;
    let changed = jobs::retry_all(&db, site_id, admin.user_id, &filter, expected).await?;
    queue.wake_for(changed).await;
    Ok((StatusCode::ACCEPTED, Json(ChangedJobs { changed })))
}

/// Cancels all pending and running jobs that match, if their number is the expected one. Replies to
/// messages of sessions do not match.
#[utoipa::path(
    post, path = "/api/admin/ai/trigger-jobs/cancel", tag = "admin", security(("bearer" = [])),
    params(
        ("site_id" = Option<i64>, Query, description = "Instead of `site_id` in the body", minimum = 1),
    ),
    request_body = Body,
    responses(
        (status = 202, body = ChangedJobs),
        BodyFailures<AdminProblem>, (status = 409, body = AdminProblem),
    ),
)]
pub(crate) async fn cancel_jobs(
    State(db): State<Db>,
    admin: Admin,
    query: QueryText,
    Json(body): Json<Body>,
) -> Result<(StatusCode, Json<ChangedJobs>)> {
    let site_id = admin.site_of(body.site_id, &query)?;
    let (filter, expected) = body.parse()?;
    let changed = jobs::cancel_all(&db, site_id, admin.user_id, &filter, expected).await?;
    Ok((StatusCode::ACCEPTED, Json(ChangedJobs { changed })))
}
