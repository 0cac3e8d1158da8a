//! `GET` and `PUT /api/admin/ai/budget`.

use axum::extract::State;
use chrono::{DateTime, Utc};
use common::{
    Result,
    governance::{
        auth::{Admin, SiteScope},
        budgets::{self, Budget, Cap, Limits, NewLimits},
        usage::fraction,
    },
    platform::db::Db,
    web::{AdminProblem, BodyFailures, ItemFailures, Json, given},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Tokens and cost used and allowed, by calendar day and month in the site's time zone.
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
    /// In CNY, such as `0.012345`: the calls that have ended and whose cost is known.
    daily_cost: String,
    /// Null: no limit of cost.
    #[schema(required)]
    daily_cost_limit: Option<String>,
    monthly_cost: String,
    #[schema(required)]
    monthly_cost_limit: Option<String>,
    /// The highest limits of tokens that may be set.
    cap: CapView,
    /// The admin who set the limits. Null for the default limits and for all sites together.
    #[schema(required)]
    updated_by: Option<i64>,
    #[schema(required)]
    updated_at: Option<DateTime<Utc>>,
}

/// Limits that only a platform admin sets. Null: none.
#[derive(Serialize, ToSchema)]
#[schema(as = BudgetCap)]
struct CapView {
    #[schema(required)]
    daily_limit: Option<i64>,
    #[schema(required)]
    monthly_limit: Option<i64>,
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
            daily_cost: budget.daily_cost.to_string(),
            daily_cost_limit: budget.daily_cost_limit.map(|limit| limit.to_string()),
            monthly_cost: budget.monthly_cost.to_string(),
            monthly_cost_limit: budget.monthly_cost_limit.map(|limit| limit.to_string()),
            cap: CapView {
                daily_limit: budget.cap.daily,
                monthly_limit: budget.cap.monthly,
            },
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
    /// In tokens. 0 rejects every call. Null only with a `daily_cost_limit`: the largest limit.
    #[schema(required, minimum = 0, maximum = 1_000_000_000_000_i64)]
    daily_limit: Option<i64>,
    #[schema(required, minimum = 0, maximum = 1_000_000_000_000_i64)]
    monthly_limit: Option<i64>,
    /// In CNY, a decimal string with at most 6 decimals. Missing: unchanged. Null: no limit.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    #[expect(clippy::option_option, reason = "null and a missing field differ")]
    daily_cost_limit: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    #[expect(clippy::option_option, reason = "null and a missing field differ")]
    monthly_cost_limit: Option<Option<String>>,
    /// Only for platform admins. Missing: unchanged. Null: no cap.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<CapBody>)]
    #[expect(clippy::option_option, reason = "null and a missing field differ")]
    cap: Option<Option<CapBody>>,
}

/// The highest limits of tokens that may be set. Null or missing: none.
#[derive(Default, Deserialize, ToSchema)]
#[schema(as = BudgetCapBody)]
struct CapBody {
    daily_limit: Option<i64>,
    monthly_limit: Option<i64>,
}

impl From<Body> for NewLimits {
    fn from(body: Body) -> Self {
        Self {
            daily: body.daily_limit,
            monthly: body.monthly_limit,
            daily_cost: body.daily_cost_limit,
            monthly_cost: body.monthly_cost_limit,
            cap: body.cap.map(|cap| {
                let cap = cap.unwrap_or_default();
                Cap {
                    daily: cap.daily_limit,
                    monthly: cap.monthly_limit,
                }
            }),
        }
    }
}

/// Sets the limits of a site. They apply to the next call.
///
/// A limit of cost rejects calls once the cost of the ended calls reaches it. Running calls may
/// exceed it.
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
    let limits = Limits::parse(body.into())?;
    Ok(Json(
        budgets::set(&db, &admin, site_id, limits, |_| true)
            .await?
            .into(),
    ))
}
