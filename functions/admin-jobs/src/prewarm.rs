//! `/api/admin/ai/prewarm`: which finance results exist, and jobs for the missing ones.

use axum::{extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use common::{
    Result,
    governance::auth::{Admin, SiteScope},
    insights::jobs::{self, FilterState, PrewarmSchedule, Prewarmed},
    platform::{db::Db, sqs::JobQueue},
    web::{AdminProblem, BodyFailures, Json, QueryFailures, QueryText},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A filter of the finance board and its result.
#[derive(Serialize, ToSchema)]
pub(crate) struct PrewarmItem {
    site_id: i64,
    /// `app2_finance`, or `app2a_finance_area` for the comparison of areas.
    app_type: String,
    period: String,
    /// Null for the comparison of areas.
    #[schema(required)]
    area: Option<String>,
    /// `valid`, `missing` or `generating`.
    state: &'static str,
    /// Null unless the result is valid.
    #[schema(required)]
    expires_at: Option<DateTime<Utc>>,
}

impl From<jobs::PrewarmItem> for PrewarmItem {
    fn from(item: jobs::PrewarmItem) -> Self {
        Self {
            site_id: item.site_id,
            app_type: item.app_type,
            period: item.period,
            area: item.area,
            state: FilterState::name(item.state),
            expires_at: item.expires_at,
        }
    }
}

/// The finance results of all active sites.
#[derive(Serialize, ToSchema)]
pub(crate) struct PrewarmMatrix {
    items: Vec<PrewarmItem>,
    /// Null if the schedule is not a time of each day.
    #[schema(required)]
    next_run_at: Option<DateTime<Utc>>,
}

/// Shows for each filter of the finance board whether its result is valid. A site without finance
/// data of the last 31 days has no items.
#[utoipa::path(
    get, path = "/api/admin/ai/prewarm", tag = "admin", security(("bearer" = [])),
    params(
        ("site_id" = Option<i64>, Query, description = "Default: all sites of the admin", minimum = 1),
    ),
    responses(
        (status = 200, body = PrewarmMatrix),
        QueryFailures<AdminProblem>,
    ),
)]
pub(crate) async fn show_prewarm(
    State(db): State<Db>,
    State(schedule): State<PrewarmSchedule>,
    scope: SiteScope,
) -> Result<Json<PrewarmMatrix>> {
    let items = jobs::prewarm_matrix(&db, scope).await?;
    Ok(Json(PrewarmMatrix {
        items: items.into_iter().map(PrewarmItem::from).collect(),
        next_run_at: schedule.next_run(&db).await?,
    }))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = PrewarmBody)]
pub(crate) struct Body {
    /// Only counts. Nothing is queued.
    dry_run: Option<bool>,
    /// How many jobs are queued. With another number, none is: 409 with `matching`. Default: any
    /// number.
    #[schema(minimum = 0)]
    expected: Option<i64>,
    /// Default: the site admin's own site. Required for a platform admin.
    site_id: Option<i64>,
}

/// Counts of filters.
#[derive(Serialize, ToSchema)]
pub(crate) struct PrewarmCounts {
    /// Filters for which a job was queued. In a dry run, filters for which one would be.
    queued: i64,
    already_valid: i64,
    /// Filters that already have a pending or running job.
    generating: i64,
}

impl From<Prewarmed> for PrewarmCounts {
    fn from(found: Prewarmed) -> Self {
        Self {
            queued: found.enqueued,
            already_valid: found.valid,
            generating: found.under_way,
        }
    }
}

/// Queues jobs for the missing finance results of a site. A dry run returns 200 and queues nothing.
#[utoipa::path(
    post, path = "/api/admin/ai/prewarm", tag = "admin", security(("bearer" = [])),
    params(
        ("site_id" = Option<i64>, Query, description = "Instead of `site_id` in the body", minimum = 1),
    ),
    request_body = Body,
    responses(
        (status = 200, body = PrewarmCounts, description = "A dry run"),
        (status = 202, body = PrewarmCounts),
        BodyFailures<AdminProblem>, (status = 409, body = AdminProblem),
    ),
)]
pub(crate) async fn start_prewarm(
    State(db): State<Db>,
    State(queue): State<JobQueue>,
    admin: Admin,
    query: QueryText,
    Json(body): Json<Body>,
) -> Result<(StatusCode, Json<PrewarmCounts>)> {
    let site_id = admin.site_of(body.site_id, &query)?;
    let dry_run = body.dry_run.unwrap_or_default();
    let found = jobs::prewarm_site(&db, site_id, admin.user_id, dry_run, body.expected).await?;
    if dry_run {
        return Ok((StatusCode::OK, Json(found.into())));
    }
    queue.wake_for(found.enqueued).await;
    Ok((StatusCode::ACCEPTED, Json(found.into())))
}
