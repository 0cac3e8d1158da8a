//! `/api/admin/ai/batches/…`: runs apps for many members, after an estimate of the cost.

use axum::{extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use common::{
    Error, Result,
    governance::auth::{Admin, SiteScope},
    insights::batches::{self, Batch, Estimate, NewBatch, Spent},
    platform::{db::Db, error::Reason, paging::Paging, sqs::JobQueue},
    web::{
        AdminPage, AdminProblem, AppInBatches, BodyFailures, ItemFailures, Json, PathText,
        QueryFailures, QueryText,
    },
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// Batches on a page, unless the client requests another number.
const PAGE_SIZE: i64 = 20;

#[derive(Deserialize, ToSchema)]
#[schema(as = EstimateBatchBody)]
pub(crate) struct Body {
    /// The apps, in any order.
    #[schema(required, inline, value_type = Option<Vec<AppInBatches>>)]
    app_types: Option<Vec<String>>,
    /// Members of the site, at most 2,000.
    #[schema(required)]
    member_ids: Option<Vec<i64>>,
    /// Default: the site admin's own site. Required for a platform admin.
    site_id: Option<i64>,
}

impl Body {
    fn parse(self, admin: &Admin) -> Result<(i64, NewBatch)> {
        let missing = |field| Error::invalid(field, Reason::Missing);
        let site_id = admin.site(self.site_id)?;
        let app_types = self.app_types.ok_or(missing("app_types"))?;
        let member_ids = self.member_ids.ok_or(missing("member_ids"))?;
        Ok((site_id, NewBatch::parse(&app_types, member_ids)?))
    }
}

/// The estimated cost of a batch.
#[derive(Serialize, ToSchema)]
pub(crate) struct BatchEstimate {
    batch_id: Uuid,
    /// Number of apps times number of members.
    estimated_calls: i64,
    /// From the average of each app at the site over the last 30 days. 2,000 per call if there is
    /// no average.
    estimated_tokens: i64,
    /// In yuan, with 6 decimals, from the average cost per call in the same days. Null if an app
    /// had no successful call in them, or a call whose cost is not known.
    #[schema(required)]
    estimated_cost: Option<String>,
    /// Tokens left in the site's daily or monthly budget, whichever is less.
    budget_left: i64,
    /// The batch can be confirmed until then.
    expires_at: DateTime<Utc>,
}

impl From<Estimate> for BatchEstimate {
    fn from(estimate: Estimate) -> Self {
        Self {
            batch_id: estimate.batch_id,
            estimated_calls: estimate.estimated_calls,
            estimated_tokens: estimate.estimated_tokens,
            estimated_cost: estimate.estimated_cost.map(|cost| cost.to_string()),
            budget_left: estimate.budget_left,
            expires_at: estimate.expires_at,
        }
    }
}

/// Estimates the cost of running apps for members. The estimate is valid for ten minutes.
#[utoipa::path(
    post, path = "/api/admin/ai/batches/estimate", tag = "admin", security(("bearer" = [])),
    request_body = Body,
    responses(
        (status = 200, body = BatchEstimate),
        BodyFailures<AdminProblem>,
    ),
)]
pub(crate) async fn estimate_batch(
    State(db): State<Db>,
    admin: Admin,
    Json(body): Json<Body>,
) -> Result<Json<BatchEstimate>> {
    let (site_id, batch) = body.parse(&admin)?;
    let estimate = batches::estimate(&db, site_id, admin.user_id, &batch).await?;
    Ok(Json(estimate.into()))
}

/// A batch that was started.
#[derive(Serialize, ToSchema)]
pub(crate) struct ConfirmedBatch {
    batch_id: Uuid,
    /// `running`.
    status: &'static str,
    /// Number of jobs: one per member.
    jobs: i64,
}

/// Starts a batch. Possible once, before the estimate expires, and if the budget has enough tokens.
#[utoipa::path(
    post, path = "/api/admin/ai/batches/{batch_id}/confirm", tag = "admin", security(("bearer" = [])),
    params(
        ("batch_id" = Uuid, Path),
        ("site_id" = Option<i64>, Query, description = "Default: the site admin's own site; required for a platform admin", minimum = 1),
    ),
    responses(
        (status = 202, body = ConfirmedBatch),
        ItemFailures<AdminProblem>, (status = 409, body = AdminProblem), (status = 410, body = AdminProblem),
    ),
)]
pub(crate) async fn confirm_batch(
    State(db): State<Db>,
    State(queue): State<JobQueue>,
    admin: Admin,
    path: PathText,
    query: QueryText,
) -> Result<(StatusCode, Json<ConfirmedBatch>)> {
    let site_id = admin.site_in(&query)?;
    let batch_id = path.uuid("batch_id")?;
    let jobs = batches::confirm(&db, site_id, admin.user_id, batch_id).await?;
    queue.wake_for(jobs).await;
    let confirmed = ConfirmedBatch {
        batch_id,
        status: "running",
        jobs,
    };
    Ok((StatusCode::ACCEPTED, Json(confirmed)))
}

/// A batch in a list.
#[derive(Serialize, ToSchema)]
pub(crate) struct BatchItem {
    /// The same as `batch_id`.
    id: Uuid,
    #[serde(flatten)]
    batch: BatchState,
}

impl From<Batch> for BatchItem {
    fn from(batch: Batch) -> Self {
        Self {
            id: batch.id,
            batch: batch.into(),
        }
    }
}

/// Lists batches, newest first.
#[utoipa::path(
    get, path = "/api/admin/ai/batches", tag = "admin", security(("bearer" = [])),
    params(
        ("site_id" = Option<i64>, Query, description = "Default: all sites of the admin", minimum = 1),
        ("page" = Option<i64>, Query, description = "From 1, up to the 10,000th item", minimum = 1),
        ("page_size" = Option<i64>, Query, minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the previous page; not with `page`"),
    ),
    responses(
        (status = 200, body = AdminPage<BatchItem>),
        QueryFailures<AdminProblem>,
    ),
)]
pub(crate) async fn list_batches(
    State(db): State<Db>,
    scope: SiteScope,
    query: QueryText,
) -> Result<Json<AdminPage<BatchItem>>> {
    let paging = Paging::parse_bounded(&query, PAGE_SIZE, &batches::cursor_scope(scope))?;
    let found = batches::list(&db, scope, &paging).await?;
    Ok(Json(AdminPage::of(found, &paging)?))
}

/// The state of a batch.
#[derive(Serialize, ToSchema)]
pub(crate) struct BatchState {
    batch_id: Uuid,
    site_id: i64,
    /// `estimated`, `expired`, `running`, `done` or `cancelled`.
    status: String,
    /// In the order in which they run for each member.
    app_types: Vec<String>,
    progress: BatchProgress,
    estimated_calls: i64,
    estimated_tokens: i64,
    /// In yuan, with 6 decimals. Null if it was not known.
    #[schema(required)]
    estimated_cost: Option<String>,
    expires_at: DateTime<Utc>,
    #[schema(required)]
    confirmed_at: Option<DateTime<Utc>>,
    created_by: i64,
    created_at: DateTime<Utc>,
}

/// The progress of a batch, in results.
#[derive(Serialize, ToSchema)]
pub(crate) struct BatchProgress {
    /// Number of apps times number of members.
    total: i64,
    done: i64,
    /// Results that will not be generated, because their app or an earlier app failed.
    failed: i64,
    cancelled: i64,
}

impl From<Batch> for BatchState {
    fn from(batch: Batch) -> Self {
        Self {
            batch_id: batch.id,
            site_id: batch.site_id,
            status: batch.status,
            app_types: batch.app_types,
            progress: BatchProgress {
                total: batch.estimated_calls,
                done: batch.done,
                failed: batch.failed,
                cancelled: batch.cancelled,
            },
            estimated_calls: batch.estimated_calls,
            estimated_tokens: batch.estimated_tokens,
            estimated_cost: batch.estimated_cost.map(|cost| cost.to_string()),
            expires_at: batch.expires_at,
            confirmed_at: batch.confirmed_at,
            created_by: batch.created_by,
            created_at: batch.created_at,
        }
    }
}

/// The state of a batch, and what its calls have cost so far.
#[derive(Serialize, ToSchema)]
pub(crate) struct BatchDetails {
    #[serde(flatten)]
    batch: BatchState,
    spent: BatchSpent,
}

/// What the ended calls of a batch have cost.
#[derive(Serialize, ToSchema)]
pub(crate) struct BatchSpent {
    /// Tokens that were charged to the budget.
    tokens: i64,
    /// In yuan, with 6 decimals; the sum of the known costs.
    cost: String,
    /// Calls whose cost is not known.
    unpriced_calls: i64,
}

impl From<Spent> for BatchSpent {
    fn from(spent: Spent) -> Self {
        Self {
            tokens: spent.tokens,
            cost: spent.cost.to_string(),
            unpriced_calls: spent.unpriced_calls,
        }
    }
}

/// Returns the state of a batch, and what it has cost so far.
#[utoipa::path(
    get, path = "/api/admin/ai/batches/{batch_id}", tag = "admin", security(("bearer" = [])),
    params(
        ("batch_id" = Uuid, Path),
        ("site_id" = Option<i64>, Query, description = "Default: all sites of the admin", minimum = 1),
    ),
    responses(
        (status = 200, body = BatchDetails),
        ItemFailures<AdminProblem>,
    ),
)]
pub(crate) async fn find_batch(
    State(db): State<Db>,
    scope: SiteScope,
    path: PathText,
) -> Result<Json<BatchDetails>> {
    let batch = batches::find(&db, scope, path.uuid("batch_id")?).await?;
    let spent = batches::spent(&db, &batch).await?;
    Ok(Json(BatchDetails {
        batch: batch.into(),
        spent: spent.into(),
    }))
}

/// The result of cancelling a batch.
#[derive(Serialize, ToSchema)]
pub(crate) struct CancelledBatch {
    batch_id: Uuid,
    /// `cancelled`. If nothing was left to cancel, `done` or `expired`.
    status: String,
    /// Number of jobs that will not run.
    cancelled: i64,
}

/// Cancels the jobs of a batch that are not running yet. Safe to repeat.
#[utoipa::path(
    post, path = "/api/admin/ai/batches/{batch_id}/cancel", tag = "admin", security(("bearer" = [])),
    params(
        ("batch_id" = Uuid, Path),
        ("site_id" = Option<i64>, Query, description = "Default: the site admin's own site; required for a platform admin", minimum = 1),
    ),
    responses(
        (status = 200, body = CancelledBatch),
        ItemFailures<AdminProblem>,
    ),
)]
pub(crate) async fn cancel_batch(
    State(db): State<Db>,
    admin: Admin,
    path: PathText,
    query: QueryText,
) -> Result<Json<CancelledBatch>> {
    let site_id = admin.site_in(&query)?;
    let batch_id = path.uuid("batch_id")?;
    let found = batches::cancel(&db, site_id, admin.user_id, batch_id).await?;
    Ok(Json(CancelledBatch {
        batch_id,
        status: found.status,
        cancelled: found.cancelled,
    }))
}
