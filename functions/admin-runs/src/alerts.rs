//! `GET /api/admin/ai/alerts`, and `POST …/{id}/ack` and `…/ignore`: what failed, and what became of it.

use axum::extract::State;
use chrono::{DateTime, Utc};
use common::{
    Result,
    governance::{
        alerts::{self, Alert, AlertQuery, Verdict},
        auth::{Admin, SiteScope},
    },
    platform::{db::Db, paging::Paging},
    web::{
        AdminPage, AdminProblem, ItemFailures, Json, PathText, QueryFailures, QueryText,
        alert_group,
    },
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::PAGE_SIZE;

/// A run that failed, or the newest of several that failed alike.
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
    /// 1, unless they are grouped.
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

/// What became of an alert.
#[derive(Serialize, ToSchema)]
pub(crate) struct SettledAlert {
    id: i64,
    /// `acknowledged` or `ignored`.
    alert_status: &'static str,
    /// Alerts that stood otherwise before.
    affected: i64,
}

/// Lists runs that failed, ran out of time or met an open circuit, the newest first.
///
/// With `group=true` those of the same site, app, status, error code and alert status are one item. Of each site, app and alert status the
/// newest 1,000 are looked at: where there are more, `occurrences` and `total` count no further, and `total_is_estimate` says so.
#[utoipa::path(
    get, path = "/api/admin/ai/alerts", tag = "admin", security(("bearer" = [])),
    params(
        ("site_id" = Option<i64>, Query, description = "A site admin's own, where it is left out; a platform admin's: all", minimum = 1),
        ("alert_status" = Option<String>, Query, description = "`pending`, `acknowledged` or `ignored`"),
        ("app_type" = Option<String>, Query, description = "`app1_chat` to `app8_clue_consolidated`"),
        ("date_from" = Option<String>, Query, description = "The first day of the site, or an instant"),
        ("date_to" = Option<String>, Query, description = "The last day or instant"),
        ("group" = Option<bool>, Query, description = "Repeated failures are one item"),
        ("page" = Option<i64>, Query, description = "From 1, up to the 10,000th item", minimum = 1),
        ("page_size" = Option<i64>, Query, minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before; not with `page`"),
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

/// Marks an alert as seen.
#[utoipa::path(
    post, path = "/api/admin/ai/alerts/{id}/ack", tag = "admin", security(("bearer" = [])),
    params(
        ("id" = i64, Path, minimum = 1),
        ("site_id" = Option<i64>, Query, description = "A site admin's own, where it is left out; needed of a platform admin", minimum = 1),
        ("group" = Option<bool>, Query, description = "Also all pending ones of the same cause, 5,000 at once"),
    ),
    responses(
        (status = 200, body = SettledAlert),
        ItemFailures<AdminProblem>,
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

/// Marks an alert as being of no interest.
#[utoipa::path(
    post, path = "/api/admin/ai/alerts/{id}/ignore", tag = "admin", security(("bearer" = [])),
    params(
        ("id" = i64, Path, minimum = 1),
        ("site_id" = Option<i64>, Query, description = "A site admin's own, where it is left out; needed of a platform admin", minimum = 1),
        ("group" = Option<bool>, Query, description = "Also all pending ones of the same cause, 5,000 at once"),
    ),
    responses(
        (status = 200, body = SettledAlert),
        ItemFailures<AdminProblem>,
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
    let (id, group) = (path.id("id")?, alert_group(query)?);
    let affected = alerts::settle(db, site_id, admin.user_id, id, verdict, group).await?;
    Ok(Json(SettledAlert {
        id,
        alert_status: verdict.alert_status().name(),
        affected,
    }))
}
