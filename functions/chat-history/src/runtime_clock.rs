//! `GET /api/xcx/runtime-clock`.

use axum::extract::State;
use chrono::{DateTime, NaiveDate, Utc};
use common::{
    Result,
    governance::{
        auth::Caller,
        runtime_context::{self, RuntimeClock},
    },
    platform::db::Db,
    web::{Failures, Json, Problem},
};
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Clock {
    /// `live` or `sandbox`.
    mode: String,
    business_date: NaiveDate,
    /// In the sandbox, `businessDate` with the real time of day.
    now: DateTime<Utc>,
    /// IANA name.
    timezone: String,
}

impl From<RuntimeClock> for Clock {
    fn from(clock: RuntimeClock) -> Self {
        Self {
            mode: clock.mode,
            business_date: clock.business_date,
            now: clock.now,
            timezone: clock.timezone,
        }
    }
}

/// Returns the current date and time of the caller's site.
#[utoipa::path(
    get, path = "/api/xcx/runtime-clock", tag = "clock", security(("bearer" = [])),
    responses(
        (status = 200, body = Clock),
        Failures<Problem>,
    ),
)]
pub(crate) async fn runtime_clock(State(db): State<Db>, caller: Caller) -> Result<Json<Clock>> {
    Ok(Json(
        runtime_context::runtime(&db, caller.site_id).await?.into(),
    ))
}
