//! `GET /api/admin/ai/cache`: the results of the apps.

use axum::extract::State;
use chrono::{DateTime, Utc};
use common::{
    Result,
    governance::auth::SiteScope,
    insights::results::{self, ResultItem, ResultQuery, Status},
    platform::{db::Db, paging::Paging},
    web::{AdminPage, AdminProblem, Json, QueryFailures, QueryText},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// Entries on a page, unless the client asks for another number.
const PAGE_SIZE: i64 = 20;

/// What an app answered.
#[derive(Serialize, ToSchema)]
pub(crate) struct CacheItem {
    id: i64,
    /// The app.
    cache_type: String,
    site_id: i64,
    /// `member:7`, `task:7`, `note:7`, or for finance `<period>:<area>` and `<period>`.
    target_id: String,
    /// `generating`, `valid`, `expired` or `invalidated`.
    status: String,
    #[schema(required)]
    score: Option<i32>,
    triggered_by: String,
    /// Null while it is being made.
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

/// Lists results, the newest first.
#[utoipa::path(
    get, path = "/api/admin/ai/cache", tag = "admin", security(("bearer" = [])),
    params(
        ("site_id" = Option<i64>, Query, description = "A platform admin sees all sites without it", minimum = 1),
        ("app_type" = Option<String>, Query),
        ("target_id" = Option<String>, Query, description = "Such as `member:7`"),
        ("status" = Option<String>, Query, description = "`generating`, `valid`, `expired` or `invalidated`"),
        ("page" = Option<i64>, Query, description = "From 1", minimum = 1),
        ("page_size" = Option<i64>, Query, minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before; not with `page`"),
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
    let asked = ResultQuery {
        scope,
        app: query.one_of("app_type", |word| {
            results::apps().find(|app| app.name() == word)
        })?,
        target_id: query.text("target_id")?.map(str::to_owned),
        status: query.one_of("status", Status::parse)?,
    };
    let paging = Paging::parse_bounded(&query, PAGE_SIZE, &asked.cursor_scope())?;
    let found = results::list(&db, &asked, &paging).await?;
    Ok(Json(AdminPage::of(found, &paging)?))
}
