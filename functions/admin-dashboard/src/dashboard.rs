//! `GET /api/admin/ai/dashboard`: usage, budget, health and recent alerts.

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

/// The dashboard of a site, or of all sites together.
///
/// Days are calendar days in the site's time zone, also in the sandbox. For all sites together they
/// are days in Shanghai.
#[derive(Serialize, ToSchema)]
pub(crate) struct Dashboard {
    /// Calls that have ended, including rejected calls.
    today_calls: i64,
    /// From 0 to 1. 0 if there was no call.
    today_success_rate: f64,
    today_tokens: i64,
    /// In CNY, such as `0.012345`. Without the calls of `today_unpriced_calls`.
    today_cost: String,
    /// Calls of today whose cost is not known.
    today_unpriced_calls: i64,
    /// Without rejected calls.
    today_avg_latency_ms: f64,
    /// The error is at most 10 % up to 300 s. Never above the slowest call. 0 if there was no call.
    today_p95_latency_ms: i64,
    /// Until the first text of today's chats, as exact as `today_p95_latency_ms`. Null if there was
    /// none.
    #[schema(required)]
    first_token_p95_ms: Option<i64>,
    /// The last 7 days in ascending order, including days without a call.
    trend_7d: Vec<TrendDay>,
    /// Calls per app over the 7 days, most calls first.
    app_distribution: Vec<AppShare>,
    /// Health of all apps.
    app_health: Vec<AppHealth>,
    budget: BudgetView,
    /// The 10 newest alerts of any alert status.
    recent_alerts: Vec<RecentAlert>,
    /// Feedback of users in the last 90 days, by app and version of its prompt. Only the newest
    /// 2,000 of each site are counted.
    thumbs: Vec<Thumbs>,
}

/// Usage of one day.
#[derive(Serialize, ToSchema)]
struct TrendDay {
    date: NaiveDate,
    calls: i64,
    success_rate: f64,
    tokens: i64,
    /// In CNY, such as `0.012345`. Without the calls of `unpriced_calls`.
    cost: String,
    /// Calls whose cost is not known.
    unpriced_calls: i64,
}

/// An app's share of all calls.
#[derive(Serialize, ToSchema)]
struct AppShare {
    app_type: String,
    count: i64,
    /// From 0 to 1.
    percentage: f64,
}

/// The health of an app.
#[derive(Serialize, ToSchema)]
struct AppHealth {
    app_type: String,
    /// The status of its last call. Null if there was none.
    #[schema(required)]
    last_status: Option<String>,
    #[schema(required)]
    last_call_at: Option<DateTime<Utc>>,
    /// `closed`, `open` or `half_open`.
    circuit: String,
    /// When the next call is allowed, if the circuit is not closed.
    #[schema(required)]
    circuit_retry_at: Option<DateTime<Utc>>,
}

/// Feedback on the texts of an app that one version of its prompt made.
#[derive(Serialize, ToSchema)]
struct Thumbs {
    app_type: String,
    /// Null if the run is not known.
    #[schema(required)]
    prompt_version: Option<String>,
    up: i64,
    down: i64,
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

/// Returns usage, budget, health and recent alerts.
#[utoipa::path(
    get, path = "/api/admin/ai/dashboard", tag = "admin", security(("bearer" = [])),
    params(("site_id" = Option<i64>, Query, description = "Default: all sites of the admin", minimum = 1)),
    responses(
        (status = 200, body = Dashboard),
        ItemFailures<AdminProblem>,
    ),
)]
pub(crate) async fn show_dashboard(
    State(db): State<Db>,
    scope: SiteScope,
) -> Result<Json<Dashboard>> {
    let usage = usage::last_days(&db, scope, 7).await?;
    let health = usage::health(&db, scope).await?;
    let alerts = alerts::newest(&db, scope).await?;
    Ok(Json(Dashboard::of(usage, health, alerts)))
}

impl Dashboard {
    fn of(usage: Usage, health: Vec<Health>, alerts: Vec<Alert>) -> Self {
        let (today, all) = (usage.of_today(), usage.of_all_days());
        let thumbs = health.iter().flat_map(Thumbs::of).collect();
        Self {
            today_calls: today.count,
            today_success_rate: today.success_rate(),
            today_tokens: today.tokens,
            today_cost: today.cost.to_string(),
            today_unpriced_calls: today.unpriced,
            today_avg_latency_ms: usage.average_latency(),
            today_p95_latency_ms: usage.latency.percentile(95).unwrap_or(0),
            first_token_p95_ms: usage.first_token.percentile(95),
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
            thumbs,
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
            cost: calls.cost.to_string(),
            unpriced_calls: calls.unpriced,
        }
    }
}

impl Thumbs {
    fn of(app: &Health) -> impl Iterator<Item = Self> {
        app.thumbs.iter().map(|thumbs| Self {
            app_type: app.app.clone(),
            prompt_version: thumbs.prompt_version.clone(),
            up: thumbs.up,
            down: thumbs.down,
        })
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
