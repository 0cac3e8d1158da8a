//! `GET /api/admin/ai/reports` and `POST …/{id}/resolve`.

use axum::extract::State;
use chrono::{DateTime, Utc};
use common::{
    Result, chat,
    governance::{
        auth::{Admin, SiteScope},
        reports::{self, Report, ReportAnswer, ReportQuery, ReportedText},
    },
    platform::{db::Db, paging::Paging},
    web::{AdminPage, AdminProblem, BodyFailures, Json, PathText, QueryFailures, QueryText},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::PAGE_SIZE;

/// A report of a user on an AI text.
#[derive(Serialize, ToSchema)]
#[schema(as = AdminReport)]
pub(crate) struct ReportView {
    id: i64,
    site_id: i64,
    user_id: i64,
    /// `message` or `insight`.
    subject_type: String,
    subject_id: i64,
    /// `inaccurate`, `unhelpful`, `unsafe`, `illegal`, `privacy` or `other`.
    reason: String,
    /// Null if the user gave none, or has deleted the conversation.
    #[schema(required)]
    text: Option<String>,
    /// `open` or `resolved`.
    state: &'static str,
    due_at: DateTime<Utc>,
    created_at: DateTime<Utc>,
    #[schema(required)]
    resolved_at: Option<DateTime<Utc>>,
    #[schema(required)]
    answer: Option<String>,
}

impl From<Report> for ReportView {
    fn from(report: Report) -> Self {
        Self {
            id: report.id,
            site_id: report.site_id,
            user_id: report.user_id,
            state: report.state().name(),
            subject_type: report.subject_type,
            subject_id: report.subject_id,
            reason: report.reason,
            text: report.text,
            due_at: report.due_at,
            created_at: report.created_at,
            resolved_at: report.resolved_at,
            answer: report.answer,
        }
    }
}

/// A report with the text that it is about.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReportItem {
    #[serde(flatten)]
    report: ReportView,
    /// The message, or the result as JSON. Null if it was deleted.
    #[schema(required)]
    content: Option<String>,
}

impl From<ReportedText> for ReportItem {
    fn from(found: ReportedText) -> Self {
        Self {
            report: found.report.into(),
            content: found.content,
        }
    }
}

/// Lists reports: overdue ones first, each part newest first.
#[utoipa::path(
    get, path = "/api/admin/ai/reports", tag = "admin", security(("bearer" = [])),
    params(
        ("site_id" = Option<i64>, Query, description = "Default: all sites of the admin", minimum = 1),
        ("state" = Option<String>, Query, description = "`open` or `resolved`"),
        ("page" = Option<i64>, Query, description = "From 1, up to the 10,000th item", minimum = 1),
        ("page_size" = Option<i64>, Query, minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the previous page; not with `page`"),
    ),
    responses(
        (status = 200, body = AdminPage<ReportItem>),
        QueryFailures<AdminProblem>,
    ),
)]
pub(crate) async fn list_reports(
    State(db): State<Db>,
    scope: SiteScope,
    query: QueryText,
) -> Result<Json<AdminPage<ReportItem>>> {
    let list = ReportQuery {
        scope,
        state: query.one_of("state", reports::State::parse)?,
    };
    let paging = Paging::parse_bounded(&query, PAGE_SIZE, &list.cursor_scope())?;
    let found = reports::list(&db, &list, &paging).await?;
    Ok(Json(AdminPage::of(found, &paging)?))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = ResolveReportBody)]
pub(crate) struct Body {
    /// What the user reads. 1 to 2,000 characters after trimming.
    #[schema(required, min_length = 1, max_length = 2000)]
    answer: Option<String>,
    /// Also blocks the message that the report is about.
    block: Option<bool>,
}

/// Resolves an open report with an answer.
#[utoipa::path(
    post, path = "/api/admin/ai/reports/{id}/resolve", tag = "admin", security(("bearer" = [])),
    params(
        ("id" = i64, Path, minimum = 1),
        ("site_id" = Option<i64>, Query, description = "Default: the site admin's own site; required for a platform admin", minimum = 1),
    ),
    request_body = Body,
    responses(
        (status = 200, body = ReportView),
        BodyFailures<AdminProblem>, (status = 409, body = AdminProblem),
    ),
)]
pub(crate) async fn resolve_report(
    State(db): State<Db>,
    admin: Admin,
    path: PathText,
    query: QueryText,
    Json(body): Json<Body>,
) -> Result<Json<ReportView>> {
    let site_id = admin.site_in(&query)?;
    let id = path.id("id")?;
    let answer = ReportAnswer::parse(body.answer.as_deref())?;
    let block = body.block.unwrap_or_default();
    let report = chat::reports::resolve(&db, site_id, admin.user_id, id, &answer, block).await?;
    Ok(Json(report.into()))
}
