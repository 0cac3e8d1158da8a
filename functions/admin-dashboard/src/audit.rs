//! `GET /api/admin/ai/audit`: a page of the audit log as JSON, or all of it as CSV.

use axum::{
    extract::State,
    http::header::VARY,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use common::{
    Result,
    governance::{
        audit::{self, AuditQuery, Entry},
        auth::SiteScope,
    },
    platform::{db::Db, paging::Paging},
    web::{
        AdminPage, AdminProblem, Json, ListFormat, QueryFailures, QueryText, Texts, audit_as_csv,
        table,
    },
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// Rows on a page, unless the client requests another number.
const PAGE_SIZE: i64 = 20;

/// A change that an admin made.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub(crate) struct EntryView {
    id: i64,
    /// Null for a change for all sites, which only platform admins see.
    #[schema(required)]
    site_id: Option<i64>,
    /// The admin. For a machine key, the admin who created it.
    user_id: i64,
    /// The machine key that made the change.
    #[schema(required)]
    api_key_id: Option<i64>,
    /// What the admin did: a noun and a verb, such as `budget.set` or `message.block`.
    action: String,
    /// Id of the changed object, such as a run or a message, if the action has one.
    #[schema(required)]
    object_id: Option<String>,
    /// The parameters of the action and its effect.
    #[schema(value_type = Object)]
    details: Value,
    created_at: DateTime<Utc>,
}

impl From<Entry> for EntryView {
    fn from(entry: Entry) -> Self {
        Self {
            id: entry.id,
            site_id: entry.site_id,
            user_id: entry.user_id,
            api_key_id: entry.api_key_id,
            action: entry.action,
            object_id: entry.object_id,
            details: entry.details,
            created_at: entry.created_at,
        }
    }
}

/// Lists changes that admins made, newest first. With `Accept: text/csv`, all of them as CSV.
#[utoipa::path(
    get, path = "/api/admin/ai/audit", tag = "admin", security(("bearer" = [])),
    params(
        ("site_id" = Option<i64>, Query, description = "Default: all sites of the admin", minimum = 1),
        ("action" = Option<String>, Query, description = "Such as `budget.set`"),
        ("user_id" = Option<i64>, Query, description = "The admin", minimum = 1),
        ("date_from" = Option<String>, Query, description = "Day (`YYYY-MM-DD` in the site's time zone) or RFC 3339 instant, inclusive"),
        ("date_to" = Option<String>, Query, description = "Day (`YYYY-MM-DD` in the site's time zone) or RFC 3339 instant, inclusive"),
        ("page" = Option<i64>, Query, description = "From 1, up to the 10,000th item; beyond that, use `cursor`. Not with CSV", minimum = 1),
        ("page_size" = Option<i64>, Query, description = "Not with CSV", minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the previous page; not with `page` or CSV"),
    ),
    responses(
        (status = 200, content((AdminPage<EntryView> = "application/json"), (String = "text/csv"))),
        QueryFailures<AdminProblem>,
    ),
)]
pub(crate) async fn list_audit(
    State(db): State<Db>,
    scope: SiteScope,
    query: QueryText,
    format: ListFormat,
    texts: Texts,
) -> Result<Response> {
    let list = AuditQuery::parse(scope, &query)?;
    if format == ListFormat::Csv {
        table::check(&query)?;
        return audit_as_csv(db, list, texts).await;
    }
    let paging = Paging::parse_bounded(&query, PAGE_SIZE, &list.cursor_scope())?;
    let found = audit::list(&db, &list, &paging).await?;
    let page: AdminPage<EntryView> = AdminPage::of(found, &paging)?;
    Ok(([(VARY, "accept")], Json(page)).into_response())
}
