//! `GET /api/admin/ai/trigger-jobs` and `GET /api/admin/ai/trigger-jobs/{id}`.

use axum::extract::State;
use chrono::{DateTime, Utc};
use common::{
    Result,
    governance::auth::SiteScope,
    insights::jobs::{self, JobQuery, JobWithRuns, RunOfJob, WaitingFor},
    platform::{db::Db, paging::Paging},
    web::{AdminPage, AdminProblem, ItemFailures, Json, PathText, QueryFailures, QueryText},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

/// Jobs on a page, unless the client requests another number.
const PAGE_SIZE: i64 = 20;

/// A job in a list.
#[derive(Serialize, ToSchema)]
pub(crate) struct JobItem {
    id: i64,
    event_type: String,
    #[schema(required)]
    member_id: Option<i64>,
    /// `pending`, `running`, `succeeded`, `failed`, `skipped_duplicate` or `cancelled`.
    status: String,
    /// The apps that the job calls, in this order.
    app_chain: Vec<String>,
    is_forced: bool,
    site_id: i64,
    #[schema(required)]
    started_at: Option<DateTime<Utc>>,
    #[schema(required)]
    finished_at: Option<DateTime<Utc>>,
    /// True if an admin cancelled the running job. It ends after its step.
    cancel_requested: bool,
    /// When a worker may run the pending job. It runs earlier if the budget is raised or the
    /// circuit closes.
    #[schema(required)]
    run_after: Option<DateTime<Utc>>,
    /// What a pending job waits for: `budget`, `circuit`, `generator` (another function generates
    /// the result, or a reply in its conversation), `facts` (not loaded yet) or `backoff`. Null if
    /// it waits for a worker.
    #[schema(required)]
    waiting_for: Option<&'static str>,
    created_at: DateTime<Utc>,
}

impl From<jobs::JobItem> for JobItem {
    fn from(job: jobs::JobItem) -> Self {
        Self {
            id: job.id,
            event_type: job.event_type,
            member_id: job.member_id,
            status: job.status,
            app_chain: job.app_chain,
            is_forced: job.is_forced,
            site_id: job.site_id,
            started_at: job.started_at,
            finished_at: job.finished_at,
            cancel_requested: job.cancel_requested,
            run_after: job.run_after,
            waiting_for: job.waiting_for.map(WaitingFor::name),
            created_at: job.created_at,
        }
    }
}

/// A page of jobs.
#[derive(Serialize, ToSchema)]
pub(crate) struct JobsPage {
    #[serde(flatten)]
    page: AdminPage<JobItem>,
    /// Duplicate events of the site's current day. Filters other than `site_id` do not apply.
    today_skipped_duplicates: i64,
}

/// Lists jobs, newest first.
#[utoipa::path(
    get, path = "/api/admin/ai/trigger-jobs", tag = "admin", security(("bearer" = [])),
    params(
        ("site_id" = Option<i64>, Query, description = "Default: all sites of the admin", minimum = 1),
        ("event_type" = Option<String>, Query, description = "`consumption.settled`, `note.created`, `task.assigned`, `etl.finished`, `prewarm`, `chat.session_message` or `batch`"),
        ("status" = Option<String>, Query, description = "`pending`, `running`, `succeeded`, `failed`, `skipped_duplicate` or `cancelled`"),
        ("batch_id" = Option<Uuid>, Query, description = "Only jobs of this batch, without their retries"),
        ("date_from" = Option<String>, Query, description = "Day (`YYYY-MM-DD` in the site's time zone) or RFC 3339 instant, inclusive"),
        ("date_to" = Option<String>, Query, description = "Day (`YYYY-MM-DD` in the site's time zone) or RFC 3339 instant, inclusive"),
        ("page" = Option<i64>, Query, description = "From 1", minimum = 1),
        ("page_size" = Option<i64>, Query, minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the previous page; not with `page`"),
    ),
    responses(
        (status = 200, body = JobsPage),
        QueryFailures<AdminProblem>,
    ),
)]
pub(crate) async fn list_jobs(
    State(db): State<Db>,
    scope: SiteScope,
    query: QueryText,
) -> Result<Json<JobsPage>> {
    let list = JobQuery::parse(scope, &query)?;
    let paging = Paging::parse_bounded(&query, PAGE_SIZE, &list.cursor_scope())?;
    let found = jobs::list(&db, &list, &paging).await?;
    Ok(Json(JobsPage {
        page: AdminPage::of(found.jobs, &paging)?,
        today_skipped_duplicates: found.today_skipped_duplicates,
    }))
}

/// A job with all its fields.
#[derive(Serialize, ToSchema)]
pub(crate) struct JobDetail {
    #[serde(flatten)]
    job: JobItem,
    #[schema(value_type = Object)]
    payload: Value,
    /// Number of apps of the chain that are done.
    step: i32,
    /// Number of attempts. An attempt that only had to wait is not counted.
    attempts: i32,
    #[schema(required)]
    error_code: Option<String>,
    #[schema(required)]
    error_message: Option<String>,
    connector_type: String,
    #[schema(required)]
    retry_of: Option<i64>,
    #[schema(required)]
    batch_id: Option<Uuid>,
    #[schema(required)]
    duplicate_of: Option<i64>,
    /// Oldest first, at most 100.
    runs: Vec<JobRun>,
}

/// A run of a job.
#[derive(Serialize, ToSchema)]
pub(crate) struct JobRun {
    app_type: String,
    run_id: i64,
    status: String,
}

impl From<RunOfJob> for JobRun {
    fn from(run: RunOfJob) -> Self {
        Self {
            app_type: run.app_type,
            run_id: run.run_id,
            status: run.status,
        }
    }
}

impl From<JobWithRuns> for JobDetail {
    fn from(job: JobWithRuns) -> Self {
        Self {
            job: job.summary.into(),
            payload: job.payload,
            step: job.step,
            attempts: job.attempts,
            error_code: job.error_code,
            error_message: job.error_message,
            connector_type: job.connector_type,
            retry_of: job.retry_of,
            batch_id: job.batch_id,
            duplicate_of: job.duplicate_of,
            runs: job.runs.into_iter().map(JobRun::from).collect(),
        }
    }
}

/// Returns a job with its runs.
#[utoipa::path(
    get, path = "/api/admin/ai/trigger-jobs/{id}", tag = "admin", security(("bearer" = [])),
    params(
        ("id" = i64, Path, minimum = 1),
        ("site_id" = Option<i64>, Query, description = "Default: all sites of the admin", minimum = 1),
    ),
    responses(
        (status = 200, body = JobDetail),
        ItemFailures<AdminProblem>,
    ),
)]
pub(crate) async fn find_job(
    State(db): State<Db>,
    scope: SiteScope,
    path: PathText,
) -> Result<Json<JobDetail>> {
    let job = jobs::find(&db, scope, path.id("id")?).await?;
    Ok(Json(job.into()))
}
