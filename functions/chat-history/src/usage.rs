//! `GET /api/xcx/usage`: the caller's own tokens.

use axum::extract::State;
use common::{
    Result,
    governance::{
        auth::Caller,
        usage::{self, OwnUsage},
    },
    platform::db::Db,
    web::{Failures, Json, Problem},
};
use serde::Serialize;
use utoipa::ToSchema;

/// The caller's tokens, by calendar day and month in the site's time zone.
#[derive(Serialize, ToSchema)]
#[schema(as = OwnUsage)]
pub(crate) struct UsageView {
    day: PeriodView,
    month: PeriodView,
}

#[derive(Serialize, ToSchema)]
#[schema(as = OwnPeriod)]
struct PeriodView {
    /// Of the calls that have ended.
    tokens: i64,
    /// Of the quotas of the caller and of its role, the lower one. Null: no limit.
    #[schema(required)]
    limit: Option<i64>,
}

impl From<OwnUsage> for UsageView {
    fn from(used: OwnUsage) -> Self {
        let period = |tokens, limit| PeriodView { tokens, limit };
        Self {
            day: period(used.today, used.daily_limit),
            month: period(used.this_month, used.monthly_limit),
        }
    }
}

/// Returns what the caller used today and this month.
#[utoipa::path(
    get, path = "/api/xcx/usage", tag = "chat", security(("bearer" = [])),
    responses(
        (status = 200, body = UsageView),
        Failures<Problem>,
    ),
)]
pub(crate) async fn show_own_usage(
    State(db): State<Db>,
    caller: Caller,
) -> Result<Json<UsageView>> {
    Ok(Json(usage::own(&db, &caller).await?.into()))
}
