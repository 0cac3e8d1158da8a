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

/// Tokens used and allowed, by the site's real day and month.
#[derive(Serialize, ToSchema)]
#[schema(as = Budget)]
pub(crate) struct BudgetView {
    /// What calls under way hold is used.
    daily_used: i64,
    daily_limit: i64,
    /// From 0; above 1 where more was used than is allowed.
    daily_pct: f64,
    monthly_used: i64,
    monthly_limit: i64,
    monthly_pct: f64,
    /// The admin who set the limits; null where they are the default, and of all sites together.
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

/// The budget of a site, or of all together.
#[utoipa::path(
    get, path = "/api/admin/ai/budget", tag = "admin", security(("bearer" = [])),
    params(("site_id" = Option<i64>, Query, minimum = 1)),
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
    /// A site admin's own, where it is left out.
    site_id: Option<i64>,
    /// Tokens; 0 lets nothing be asked.
    #[schema(required, minimum = 0, maximum = 1_000_000_000_000_i64)]
    daily_limit: Option<i64>,
    #[schema(required, minimum = 0, maximum = 1_000_000_000_000_i64)]
    monthly_limit: Option<i64>,
}

/// Sets the limits of a site, from the next call on.
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
