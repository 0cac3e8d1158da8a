//! `GET /api/admin/ai/dashboard`: what AI costs, whether it is healthy, what went wrong.

use axum::extract::State;
use chrono::{DateTime, NaiveDate, Utc};
use common::{
    Result,
    governance::{
        alerts::{self, Alert},
        auth::SiteScope,
        usage::{self, Calls, Health, Usage, fraction},
    },
    platform::db::Db,
    web::{AdminProblem, ItemFailures, Json},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::budget::BudgetView;

/// Of a site by its real day, whatever its runtime context; of all sites by the day of Shanghai.
#[derive(Serialize, ToSchema)]
pub(crate) struct Dashboard {
    /// All that have ended, those that were refused too.
    today_calls: i64,
    /// From 0 to 1; 0 where nothing was called.
    today_success_rate: f64,
    today_tokens: i64,
    /// Of calls that were made.
    today_avg_latency_ms: f64,
    /// As near as a histogram of 16 buckets tells; at most 60,000.
    today_p95_latency_ms: i64,
    /// The last 7 days, ascending, those without a call too.
    trend_7d: Vec<TrendDay>,
    /// Of the 7 days, the most called first.
    app_distribution: Vec<AppShare>,
    /// Every app.
    app_health: Vec<AppHealth>,
    budget: BudgetView,
    /// The 10 newest, however they stand.
    recent_alerts: Vec<RecentAlert>,
}

/// A day.
#[derive(Serialize, ToSchema)]
struct TrendDay {
    date: NaiveDate,
    calls: i64,
    success_rate: f64,
    tokens: i64,
}

/// What part of all calls an app had.
#[derive(Serialize, ToSchema)]
struct AppShare {
    app_type: String,
    count: i64,
    /// From 0 to 1.
    percentage: f64,
}

/// How an app does.
#[derive(Serialize, ToSchema)]
struct AppHealth {
    app_type: String,
    /// How its last call ended; null where there was none.
    #[schema(required)]
    last_status: Option<String>,
    #[schema(required)]
    last_call_at: Option<DateTime<Utc>>,
    /// `closed`, `open` or `half_open`.
    circuit: String,
    /// When it may be asked again, where the circuit is not closed.
    #[schema(required)]
    circuit_retry_at: Option<DateTime<Utc>>,
}

/// A run that failed.
#[derive(Serialize, ToSchema)]
struct RecentAlert {
    id: i64,
    site_id: i64,
    app_type: String,
    /// `failed`, `timeout` or `circuit_open`.
    status: String,
    /// `pending`, `acknowledged` or `ignored`.
    alert_status: String,
    #[schema(required)]
    error_message: Option<String>,
    created_at: DateTime<Utc>,
}

/// What AI costs and how it does.
#[utoipa::path(
    get, path = "/api/admin/ai/dashboard", tag = "admin", security(("bearer" = [])),
    params(("site_id" = Option<i64>, Query, minimum = 1)),
    responses(
        (status = 200, body = Dashboard),
        ItemFailures<AdminProblem>,
    ),
)]
pub(crate) async fn show_dashboard(
    State(db): State<Db>,
    scope: SiteScope,
) -> Result<Json<Dashboard>> {
    let usage = usage::last_days(&db, scope).await?;
    let health = usage::health(&db, scope).await?;
    let alerts = alerts::newest(&db, scope).await?;
    Ok(Json(Dashboard::of(usage, health, alerts)))
}

impl Dashboard {
    fn of(usage: Usage, health: Vec<Health>, alerts: Vec<Alert>) -> Self {
        let (today, all) = (usage.of_today(), usage.of_all_days());
        Self {
            today_calls: today.count,
            today_success_rate: today.success_rate(),
            today_tokens: today.tokens,
            today_avg_latency_ms: usage.latency.average(),
            today_p95_latency_ms: usage.latency.p95(),
            trend_7d: usage.trend.into_iter().map(TrendDay::from).collect(),
            app_distribution: usage
                .by_app
                .into_iter()
                .map(|(app_type, calls)| AppShare {
                    app_type,
                    count: calls.count,
                    percentage: fraction(calls.count, all.count),
                })
                .collect(),
            app_health: health.into_iter().map(AppHealth::from).collect(),
            budget: usage.budget.into(),
            recent_alerts: alerts.into_iter().map(RecentAlert::from).collect(),
        }
    }
}

impl From<(NaiveDate, Calls)> for TrendDay {
    fn from((date, calls): (NaiveDate, Calls)) -> Self {
        Self {
            date,
            calls: calls.count,
            success_rate: calls.success_rate(),
            tokens: calls.tokens,
        }
    }
}

impl From<Health> for AppHealth {
    fn from(health: Health) -> Self {
        Self {
            app_type: health.app,
            last_status: health.last_status,
            last_call_at: health.last_call_at,
            circuit: health.circuit,
            circuit_retry_at: health.retry_at,
        }
    }
}

impl From<Alert> for RecentAlert {
    fn from(alert: Alert) -> Self {
        Self {
            id: alert.id,
            site_id: alert.site_id,
            app_type: alert.app_type,
            status: alert.status,
            alert_status: alert.alert_status,
            error_message: alert.error_message,
            created_at: alert.created_at,
        }
    }
}
