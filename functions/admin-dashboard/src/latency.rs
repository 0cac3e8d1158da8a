//! `GET /api/admin/ai/latency`: percentiles by day and app.

use axum::extract::State;
use chrono::NaiveDate;
use common::{
    Result,
    governance::{
        apps::App,
        auth::SiteScope,
        usage::{self, DayOfApp, LatencyQuery},
    },
    platform::{dates::DateRange, db::Db},
    web::{AdminProblem, AnyApp, ItemFailures, Json, QueryText},
};
use serde::Serialize;
use utoipa::ToSchema;

/// All items. The list has no pages.
#[derive(Serialize, ToSchema)]
pub(crate) struct Latencies {
    items: Vec<LatencyItem>,
}

/// Percentiles of an app's calls on a day, by nearest rank, in milliseconds. They are null if there
/// was no call.
///
/// The error is at most 10 % up to 300 s. No percentile is above the slowest call.
#[derive(Serialize, ToSchema)]
struct LatencyItem {
    date: NaiveDate,
    app_type: String,
    /// Calls that have ended, without rejected calls.
    calls: i64,
    #[schema(required)]
    p50_ms: Option<i64>,
    #[schema(required)]
    p95_ms: Option<i64>,
    #[schema(required)]
    p99_ms: Option<i64>,
    /// Until the first text. Only chats have it.
    #[schema(required)]
    first_token_p50_ms: Option<i64>,
    #[schema(required)]
    first_token_p95_ms: Option<i64>,
    #[schema(required)]
    first_token_p99_ms: Option<i64>,
}

impl From<DayOfApp> for LatencyItem {
    fn from(day: DayOfApp) -> Self {
        Self {
            date: day.day,
            app_type: day.app,
            calls: day.latency.calls(),
            p50_ms: day.latency.percentile(50),
            p95_ms: day.latency.percentile(95),
            p99_ms: day.latency.percentile(99),
            first_token_p50_ms: day.first_token.percentile(50),
            first_token_p95_ms: day.first_token.percentile(95),
            first_token_p99_ms: day.first_token.percentile(99),
        }
    }
}

/// Lists percentiles of latency and of time to the first token, by day and app.
///
/// Days are calendar days in the site's time zone, also in the sandbox. For all sites together they
/// are days in Shanghai. Each listed app has an item for each day of the range up to today.
#[utoipa::path(
    get, path = "/api/admin/ai/latency", tag = "admin", security(("bearer" = [])),
    params(
        ("site_id" = Option<i64>, Query, description = "Default: all sites of the admin together", minimum = 1),
        ("app_type" = inline(Option<AnyApp>), Query, description = "Default: all apps that had a call in the range"),
        ("date_from" = Option<String>, Query, description = "First day (`YYYY-MM-DD` in the site's time zone) or an RFC 3339 instant of it. Default: six days before the last day"),
        ("date_to" = Option<String>, Query, description = "Last day (`YYYY-MM-DD` in the site's time zone) or an RFC 3339 instant of it. Default: today. At most 400 days"),
    ),
    responses(
        (status = 200, body = Latencies),
        ItemFailures<AdminProblem>,
    ),
)]
pub(crate) async fn show_latency(
    State(db): State<Db>,
    scope: SiteScope,
    query: QueryText,
) -> Result<Json<Latencies>> {
    let list = LatencyQuery {
        scope,
        app: query.one_of("app_type", App::parse)?,
        dates: DateRange::parse(&query)?,
    };
    let days = usage::latency_by_day(&db, list).await?;
    Ok(Json(Latencies {
        items: days.into_iter().map(LatencyItem::from).collect(),
    }))
}
