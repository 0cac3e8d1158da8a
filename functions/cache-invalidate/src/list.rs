//! `GET /api/admin/ai/cache`: lists cached results.

use axum::extract::State;
use chrono::{DateTime, Utc};
use common::{
    Result,
    governance::auth::SiteScope,
    insights::results::{self, ResultItem, ResultQuery},
    platform::{db::Db, paging::Paging},
    web::{AdminPage, AdminProblem, AppWithResults, Json, QueryFailures, QueryText},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// Results on a page, unless the client requests another number.
const PAGE_SIZE: i64 = 20;

/// A cached result of an app.
#[derive(Serialize, ToSchema)]
pub(crate) struct CacheItem {
    id: i64,
    /// Name of the app.
    cache_type: String,
    site_id: i64,
    /// Such as `member:7`, `task:7` or `note:7`. For finance, `<period>:<area>` or `<period>`.
    target_id: String,
    /// `generating`, `valid`, `expired` or `invalidated`.
    status: String,
    #[schema(required)]
    score: Option<i32>,
    triggered_by: String,
    /// Null while the result is being generated.
    #[schema(required, value_type = Option<Object>)]
    result_json: Option<Value>,
    created_at: DateTime<Utc>,
    #[schema(required)]
    expires_at: Option<DateTime<Utc>>,
}

impl From<ResultItem> for CacheItem {
    fn from(entry: ResultItem) -> Self {
        Self {
            id: entry.id,
            cache_type: entry.cache_type,
            site_id: entry.site_id,
            target_id: entry.target_id,
            status: entry.status,
            score: entry.score,
            triggered_by: entry.triggered_by,
            result_json: entry.result,
            created_at: entry.created_at,
            expires_at: entry.expires_at,
        }
    }
}

/// Lists cached results, newest first.
#[utoipa::path(
    get, path = "/api/admin/ai/cache", tag = "admin", security(("bearer" = [])),
    params(
        ("site_id" = Option<i64>, Query, description = "Default: all sites of the admin", minimum = 1),
        ("app_type" = inline(Option<AppWithResults>), Query),
        ("target_id" = Option<String>, Query, description = "Such as `member:7`"),
        ("status" = Option<String>, Query, description = "`generating`, `valid`, `expired` or `invalidated`"),
        ("page" = Option<i64>, Query, description = "From 1", minimum = 1),
        ("page_size" = Option<i64>, Query, minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the previous page; not with `page`"),
    ),
    responses(
        (status = 200, body = AdminPage<CacheItem>),
        QueryFailures<AdminProblem>,
    ),
)]
pub(crate) async fn list_cache(
    State(db): State<Db>,
    scope: SiteScope,
    query: QueryText,
) -> Result<Json<AdminPage<CacheItem>>> {
    let list = ResultQuery::parse(scope, &query)?;
    let paging = Paging::parse_bounded(&query, PAGE_SIZE, &list.cursor_scope())?;
    let found = results::list(&db, &list, &paging).await?;
    Ok(Json(AdminPage::of(found, &paging)?))
}
