//! `GET /api/admin/ai/alerts`, `POST …/{id}/ack` and `POST …/{id}/ignore`.

use axum::extract::State;
use chrono::{DateTime, Utc};
use common::{
    Result,
    governance::{
        alerts::{self, Alert, AlertQuery, Decision, Verdict},
        auth::{Admin, SiteScope},
    },
    platform::{dates::DateRange, db::Db, paging::Paging},
    web::{
        AdminPage, AdminProblem, AnyApp, ItemFailures, Json, PathText, QueryFailures, QueryText,
        alert_group,
    },
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::PAGE_SIZE;

/// A failed run, or the newest of a group of runs that failed with the same cause.
#[derive(Serialize, ToSchema)]
pub(crate) struct AlertItem {
    id: i64,
    site_id: i64,
    app_type: String,
    /// `failed`, `timeout` or `circuit_open`.
    status: String,
    /// `pending`, `acknowledged` or `ignored`.
    alert_status: String,
    #[schema(required)]
    error_code: Option<String>,
    #[schema(required)]
    error_message: Option<String>,
    created_at: DateTime<Utc>,
    /// Number of runs in the group. 1 without grouping.
    occurrences: i64,
    first_at: DateTime<Utc>,
    last_at: DateTime<Utc>,
}

impl From<Alert> for AlertItem {
    fn from(alert: Alert) -> Self {
        Self {
            id: alert.id,
            site_id: alert.site_id,
            app_type: alert.app_type,
            status: alert.status,
            alert_status: alert.alert_status,
            error_code: alert.error_code,
            error_message: alert.error_message,
            created_at: alert.created_at,
            occurrences: alert.occurrences,
            first_at: alert.first_at,
            last_at: alert.created_at,
        }
    }
}

/// An alert after the change.
#[derive(Serialize, ToSchema)]
pub(crate) struct SettledAlert {
    id: i64,
    /// `acknowledged` or `ignored`.
    alert_status: &'static str,
    /// Number of alerts that changed.
    affected: i64,
}

/// Lists runs that failed, timed out or were rejected by an open circuit, newest first.
///
/// With `group=true`, runs with the same site, app, status, error code and alert status are one
/// item. Only the newest 1,000 runs per site, app and alert status are read. If there are more,
/// `occurrences` and `total` count only those, and `total_is_estimate` is true.
#[utoipa::path(
    get, path = "/api/admin/ai/alerts", tag = "admin", security(("bearer" = [])),
    params(
        ("site_id" = Option<i64>, Query, description = "Default: all sites of the admin", minimum = 1),
        ("alert_status" = Option<String>, Query, description = "`pending`, `acknowledged` or `ignored`"),
        ("app_type" = inline(Option<AnyApp>), Query),
        ("date_from" = Option<String>, Query, description = "First day (`YYYY-MM-DD` in the site's time zone) or RFC 3339 instant, inclusive"),
        ("date_to" = Option<String>, Query, description = "Last day (`YYYY-MM-DD` in the site's time zone) or RFC 3339 instant, inclusive"),
        ("group" = Option<bool>, Query, description = "Group runs with the same cause"),
        ("page" = Option<i64>, Query, description = "From 1, up to the 10,000th item; beyond that, use `cursor`", minimum = 1),
        ("page_size" = Option<i64>, Query, minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the previous page; not with `page`"),
    ),
    responses(
        (status = 200, body = AdminPage<AlertItem>),
        QueryFailures<AdminProblem>,
    ),
)]
pub(crate) async fn list_alerts(
    State(db): State<Db>,
    scope: SiteScope,
    query: QueryText,
) -> Result<Json<AdminPage<AlertItem>>> {
    let list = AlertQuery::parse(scope, &query)?;
    let paging = Paging::parse_bounded(&query, PAGE_SIZE, &list.cursor_scope())?;
    let found = alerts::list(&db, &list, &paging).await?;
    Ok(Json(AdminPage::of(found, &paging)?))
}

/// Acknowledges an alert.
#[utoipa::path(
    post, path = "/api/admin/ai/alerts/{id}/ack", tag = "admin", security(("bearer" = [])),
    params(
        ("id" = i64, Path, minimum = 1),
        ("site_id" = Option<i64>, Query, description = "Default: the site admin's own site; required for a platform admin", minimum = 1),
        ("group" = Option<bool>, Query, description = "Also settle pending alerts of the same cause, at most 5,000 per request"),
        ("expected" = Option<i64>, Query, description = "How many alerts change. With another number, nothing changes: 409 with `matching`. Default: any number", minimum = 0),
    ),
    responses(
        (status = 200, body = SettledAlert),
        ItemFailures<AdminProblem>, (status = 409, body = AdminProblem),
    ),
)]
pub(crate) async fn acknowledge_alert(
    State(db): State<Db>,
    admin: Admin,
    path: PathText,
    query: QueryText,
) -> Result<Json<SettledAlert>> {
    settle(&db, &admin, &path, &query, Verdict::Acknowledge).await
}

/// Marks an alert as ignored.
#[utoipa::path(
    post, path = "/api/admin/ai/alerts/{id}/ignore", tag = "admin", security(("bearer" = [])),
    params(
        ("id" = i64, Path, minimum = 1),
        ("site_id" = Option<i64>, Query, description = "Default: the site admin's own site; required for a platform admin", minimum = 1),
        ("group" = Option<bool>, Query, description = "Also settle pending alerts of the same cause, at most 5,000 per request"),
        ("expected" = Option<i64>, Query, description = "How many alerts change. With another number, nothing changes: 409 with `matching`. Default: any number", minimum = 0),
    ),
    responses(
        (status = 200, body = SettledAlert),
        ItemFailures<AdminProblem>, (status = 409, body = AdminProblem),
    ),
)]
pub(crate) async fn ignore_alert(
    State(db): State<Db>,
    admin: Admin,
    path: PathText,
    query: QueryText,
) -> Result<Json<SettledAlert>> {
    settle(&db, &admin, &path, &query, Verdict::Ignore).await
}

async fn settle(
    db: &Db,
    admin: &Admin,
    path: &PathText,
    query: &QueryText,
    verdict: Verdict,
) -> Result<Json<SettledAlert>> {
    let site_id = admin.site_in(query)?;
    let id = path.id("id")?;
    let decision = Decision {
        verdict,
        group: alert_group(query)?,
        dates: DateRange::default(),
        expected: query.integer("expected", 0, i64::MAX)?,
    };
    let affected = alerts::settle(db, site_id, admin.user_id, id, &decision).await?;
    Ok(Json(SettledAlert {
        id,
        alert_status: verdict.alert_status().name(),
        affected,
    }))
}
