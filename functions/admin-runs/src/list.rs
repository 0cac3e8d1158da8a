//! `GET /api/admin/ai/run-logs`: a page of runs as JSON, or all runs as CSV.

use axum::{
    extract::State,
    http::header::VARY,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use common::{
    Result,
    governance::{
        auth::SiteScope,
        runs::{self, Entry, RunQuery},
    },
    platform::{db::Db, paging::Paging},
    web::{
        AdminPage, AdminProblem, AnyApp, Json, ListFormat, QueryFailures, QueryText, Texts,
        runs_as_csv, table,
    },
};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::PAGE_SIZE;

/// A run, without its prompt and response.
#[derive(Serialize, ToSchema)]
pub(crate) struct RunItem {
    id: i64,
    app_type: String,
    trigger_type: String,
    #[schema(required)]
    member_id: Option<i64>,
    /// Tokens that DashScope reported. Null if it reported none.
    #[schema(required)]
    tokens_used: Option<i64>,
    /// Tokens that the budget and the dashboard count. If `tokens_used` is null and the call may
    /// have cost tokens, this is the reservation.
    tokens_charged: i64,
    #[schema(required)]
    latency_ms: Option<i64>,
    #[schema(required)]
    first_token_ms: Option<i64>,
    status: String,
    /// Refusals that this row counts: those of a user within a minute, or those of a job. Null if
    /// the run was not refused.
    #[schema(required)]
    refusals: Option<i64>,
    site_id: i64,
    /// The user who made the call. Null if no user did.
    #[schema(required)]
    user_id: Option<i64>,
    /// The bot of the chat or session.
    #[schema(required)]
    bot_id: Option<Uuid>,
    /// The model that used most tokens. Null if DashScope reported none.
    #[schema(required)]
    model_id: Option<String>,
    /// Why DashScope ended the answer, such as `stop`. Null if it did not end.
    #[schema(required)]
    finish_reason: Option<String>,
    /// In CNY, such as `0.012345`. Null if a model has no price, or the usage of a try is unknown.
    #[schema(required)]
    cost: Option<String>,
    created_at: DateTime<Utc>,
}

impl From<Entry> for RunItem {
    fn from(entry: Entry) -> Self {
        Self {
            id: entry.id,
            app_type: entry.app_type,
            trigger_type: entry.trigger_type,
            member_id: entry.member_id,
            tokens_used: entry.tokens_used,
            tokens_charged: entry.tokens_charged,
            latency_ms: entry.latency_ms,
            first_token_ms: entry.first_token_ms,
            status: entry.status,
            refusals: entry.refusals,
            site_id: entry.site_id,
            user_id: entry.user_id,
            bot_id: entry.bot_id,
            model_id: entry.model_id,
            finish_reason: entry.finish_reason,
            cost: entry.cost.map(|cost| cost.to_string()),
            created_at: entry.created_at,
        }
    }
}

/// Lists runs, newest first.
///
/// Filters combine. A request reads a bounded number of runs. So with several filters a page may
/// have fewer items than `page_size`, or none, although `next_cursor` is not null.
///
/// With `Accept: text/csv`, returns all runs of at most 31 days as CSV. The columns are the fields
/// of an item, `error_code` and `error_message`.
#[utoipa::path(
    get, path = "/api/admin/ai/run-logs", tag = "admin", security(("bearer" = [])),
    params(
        ("site_id" = Option<i64>, Query, description = "Default: all sites of the admin", minimum = 1),
        ("app_type" = inline(Option<AnyApp>), Query),
        ("status" = Option<String>, Query, description = "`running`, `success`, `failed`, `timeout`, `circuit_open`, `budget_exceeded`, `quota_exceeded` or `stopped`"),
        ("trigger_type" = Option<String>, Query, description = "`chat`, `session`, `event`, `prewarm`, `batch` or `manual`"),
        ("user_id" = Option<i64>, Query, description = "The user who made the call", minimum = 1),
        ("member_id" = Option<i64>, Query, description = "The member that the call is about", minimum = 1),
        ("bot_id" = Option<Uuid>, Query, description = "The bot of the chat or session"),
        ("error_code" = Option<String>, Query, description = "Such as `upstream_timeout`", min_length = 1, max_length = 100),
        ("prompt_version" = Option<String>, Query, description = "Such as `app1_chat/1`", min_length = 1, max_length = 100),
        ("model_id" = Option<String>, Query, description = "The model that used most tokens, such as `qwen-plus`", min_length = 1, max_length = 100),
        ("min_latency_ms" = Option<i64>, Query, description = "Only calls that took at least so long; not those that are running", minimum = 0),
        ("date_from" = Option<String>, Query, description = "First day (`YYYY-MM-DD` in the site's time zone) or RFC 3339 instant, inclusive; required for CSV"),
        ("date_to" = Option<String>, Query, description = "Last day (`YYYY-MM-DD` in the site's time zone) or RFC 3339 instant, inclusive; required for CSV"),
        ("page" = Option<i64>, Query, description = "From 1, up to the 10,000th item; not with CSV", minimum = 1),
        ("page_size" = Option<i64>, Query, description = "Not with CSV", minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the previous page; not with `page` or CSV"),
    ),
    responses(
        (status = 200, content((AdminPage<RunItem> = "application/json"), (String = "text/csv"))),
        QueryFailures<AdminProblem>,
    ),
)]
pub(crate) async fn list_runs(
    State(db): State<Db>,
    scope: SiteScope,
    query: QueryText,
    format: ListFormat,
    texts: Texts,
) -> Result<Response> {
    let list = RunQuery::parse(scope, &query)?;
    if format == ListFormat::Csv {
        table::check(&query)?;
        return runs_as_csv(db, list, texts).await;
    }
    let paging = Paging::parse_bounded(&query, PAGE_SIZE, &list.cursor_scope())?;
    let found = runs::list(&db, &list, &paging).await?;
    let page: AdminPage<RunItem> = AdminPage::of(found, &paging)?;
    Ok(([(VARY, "accept")], Json(page)).into_response())
}
