//! `/api/admin/ai/batches/…`: apps asked about many members, once it was seen what that costs.

use axum::{extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use common::{
    Error, Result,
    governance::auth::{Admin, SiteScope},
    insights::batches::{self, Batch, Estimate, NewBatch},
    platform::{db::Db, error::Reason, sqs::JobQueue},
    web::{AdminProblem, BodyFailures, ItemFailures, Json, PathText, QueryText},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// The most workers that are woken for a batch. Each goes on until nothing is due, and the schedule adds another
/// every minute.
const MOST_WOKEN: u32 = 10;

#[derive(Deserialize, ToSchema)]
#[schema(as = EstimateBatchBody)]
pub(crate) struct Body {
    /// Any of `app3_clue`, `app4_analysis`, `app5_tactics`, `app7_customer_analysis` and `app8_clue_consolidated`.
    #[schema(required)]
    app_types: Option<Vec<String>>,
    /// Members of the site, at most 2,000.
    #[schema(required)]
    member_ids: Option<Vec<i64>>,
    /// A site admin's own, where it is left out.
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

/// What a batch would cost.
#[derive(Serialize, ToSchema)]
pub(crate) struct BatchEstimate {
    batch_id: Uuid,
    /// Apps times members.
    estimated_calls: i64,
    /// By what each app took on average in the last 30 days at the site; 2,000 a call where it took nothing.
    estimated_tokens: i64,
    /// Tokens that are left of the site's day or month, whichever is less.
    budget_left: i64,
    /// Until when it can be confirmed.
    expires_at: DateTime<Utc>,
}

impl From<Estimate> for BatchEstimate {
    fn from(estimate: Estimate) -> Self {
        Self {
            batch_id: estimate.batch_id,
            estimated_calls: estimate.estimated_calls,
            estimated_tokens: estimate.estimated_tokens,
            budget_left: estimate.budget_left,
            expires_at: estimate.expires_at,
        }
    }
}

/// Says what it would cost to ask apps about members, and remembers it for ten minutes.
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
    status: &'static str,
    /// One for each member.
    jobs: i64,
}

/// Starts a batch: once, before its estimate expires, and if the site's budget has room for it.
#[utoipa::path(
    post, path = "/api/admin/ai/batches/{batch_id}/confirm", tag = "admin", security(("bearer" = [])),
    params(
        ("batch_id" = Uuid, Path),
        ("site_id" = Option<i64>, Query, description = "A site admin's own, where it is left out", minimum = 1),
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
    queue
        .notify_workers(u32::try_from(jobs).unwrap_or(MOST_WOKEN).min(MOST_WOKEN))
        .await;
    let confirmed = ConfirmedBatch {
        batch_id,
        status: "running",
        jobs,
    };
    Ok((StatusCode::ACCEPTED, Json(confirmed)))
}

/// A batch as it stands.
#[derive(Serialize, ToSchema)]
pub(crate) struct BatchState {
    batch_id: Uuid,
    site_id: i64,
    /// `estimated`, `expired`, `running`, `done` or `cancelled`.
    status: String,
    /// In the order in which they are asked about each member.
    app_types: Vec<String>,
    progress: BatchProgress,
    estimated_calls: i64,
    estimated_tokens: i64,
    expires_at: DateTime<Utc>,
    #[schema(required)]
    confirmed_at: Option<DateTime<Utc>>,
    created_by: i64,
    created_at: DateTime<Utc>,
}

/// How far a batch has come, in results.
#[derive(Serialize, ToSchema)]
pub(crate) struct BatchProgress {
    /// Apps times members.
    total: i64,
    done: i64,
    /// What will not be made, since an app before it, or itself, has failed.
    failed: i64,
    /// What was taken back.
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
            expires_at: batch.expires_at,
            confirmed_at: batch.confirmed_at,
            created_by: batch.created_by,
            created_at: batch.created_at,
        }
    }
}

/// Shows how far a batch has come.
#[utoipa::path(
    get, path = "/api/admin/ai/batches/{batch_id}", tag = "admin", security(("bearer" = [])),
    params(
        ("batch_id" = Uuid, Path),
        ("site_id" = Option<i64>, Query, description = "A platform admin sees all sites without it", minimum = 1),
    ),
    responses(
        (status = 200, body = BatchState),
        ItemFailures<AdminProblem>,
    ),
)]
pub(crate) async fn find_batch(
    State(db): State<Db>,
    scope: SiteScope,
    path: PathText,
) -> Result<Json<BatchState>> {
    let batch = batches::find(&db, scope, path.uuid("batch_id")?).await?;
    Ok(Json(batch.into()))
}

/// What became of a batch that was taken back.
#[derive(Serialize, ToSchema)]
pub(crate) struct CancelledBatch {
    batch_id: Uuid,
    /// `cancelled`; or `done` or `expired`, where there was nothing left to take back.
    status: String,
    /// Jobs that will not run.
    cancelled: i64,
}

/// Takes back what is not running of a batch. Safe to repeat.
#[utoipa::path(
    post, path = "/api/admin/ai/batches/{batch_id}/cancel", tag = "admin", security(("bearer" = [])),
    params(
        ("batch_id" = Uuid, Path),
        ("site_id" = Option<i64>, Query, description = "A site admin's own, where it is left out", minimum = 1),
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
