//! `GET` and `PUT /api/admin/ai/budget`.

use axum::extract::State;
use chrono::{DateTime, Utc};
use common::{
    Result,
    governance::{
        auth::{Admin, SiteScope},
        budgets::{self, Budget, Limits},
        usage::fraction,
    },
    platform::db::Db,
    web::{AdminProblem, BodyFailures, ItemFailures, Json},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Tokens used and allowed, by calendar day and month in the site's time zone.
#[derive(Serialize, ToSchema)]
#[schema(as = Budget)]
pub(crate) struct BudgetView {
    /// Includes the reservations of running calls.
    daily_used: i64,
    daily_limit: i64,
    /// Used tokens divided by the limit, such as 0.25. Above 1 if the limit is exceeded.
    daily_pct: f64,
    monthly_used: i64,
    monthly_limit: i64,
    monthly_pct: f64,
    /// The admin who set the limits. Null for the default limits and for all sites together.
    #[schema(required)]
    updated_by: Option<i64>,
    #[schema(required)]
    updated_at: Option<DateTime<Utc>>,
}

impl From<Budget> for BudgetView {
    fn from(budget: Budget) -> Self {
        Self {
            daily_used: budget.daily_used,
            daily_limit: budget.daily_limit,
            daily_pct: fraction(budget.daily_used, budget.daily_limit),
            monthly_used: budget.monthly_used,
            monthly_limit: budget.monthly_limit,
            monthly_pct: fraction(budget.monthly_used, budget.monthly_limit),
            updated_by: budget.updated_by,
            updated_at: budget.updated_at,
        }
    }
}

/// Returns the budget of a site, or of all sites together.
#[utoipa::path(
    get, path = "/api/admin/ai/budget", tag = "admin", security(("bearer" = [])),
    params(("site_id" = Option<i64>, Query, description = "Default: all sites of the admin", minimum = 1)),
    responses(
        (status = 200, body = BudgetView),
        ItemFailures<AdminProblem>,
    ),
)]
pub(crate) async fn show_budget(
    State(db): State<Db>,
    scope: SiteScope,
) -> Result<Json<BudgetView>> {
    Ok(Json(budgets::get(&db, scope).await?.into()))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = BudgetBody)]
pub(crate) struct Body {
    /// Default: the site admin's own site. Required for a platform admin.
    site_id: Option<i64>,
    /// In tokens. 0 rejects every call.
    #[schema(required, minimum = 0, maximum = 1_000_000_000_000_i64)]
    daily_limit: Option<i64>,
    #[schema(required, minimum = 0, maximum = 1_000_000_000_000_i64)]
    monthly_limit: Option<i64>,
}

/// Sets the limits of a site. They apply to the next call.
#[utoipa::path(
    put, path = "/api/admin/ai/budget", tag = "admin", security(("bearer" = [])),
    request_body = Body,
    responses(
        (status = 200, body = BudgetView),
        BodyFailures<AdminProblem>,
    ),
)]
pub(crate) async fn set_budget(
    State(db): State<Db>,
    admin: Admin,
    Json(body): Json<Body>,
) -> Result<Json<BudgetView>> {
    let site_id = admin.site(body.site_id)?;
    let limits = Limits::parse(body.daily_limit, body.monthly_limit)?;
    Ok(Json(
        budgets::set(&db, &admin, site_id, limits).await?.into(),
    ))
}
