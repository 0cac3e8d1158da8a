//! `GET` and `POST /api/xcx/reports`: the caller's complaints about AI texts.

use axum::{extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use common::{
    Result, chat,
    governance::{
        auth::Caller,
        notice::Notice,
        reports::{self, NewReport, Report},
    },
    platform::{db::Db, paging::Paging},
    web::{BodyFailures, Json, Problem, QueryFailures, QueryText},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::PAGE_SIZE;

#[derive(Deserialize, ToSchema)]
#[schema(as = ReportBody)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Body {
    /// `message` or `insight`.
    #[schema(required)]
    subject_type: Option<String>,
    #[schema(required, minimum = 1)]
    subject_id: Option<i64>,
    /// `inaccurate`, `unhelpful`, `unsafe`, `illegal`, `privacy` or `other`.
    #[schema(required)]
    reason: Option<String>,
    #[schema(max_length = 2000)]
    text: Option<String>,
}

impl Body {
    fn parse(&self) -> Result<NewReport> {
        NewReport::parse(
            self.subject_type.as_deref(),
            self.subject_id,
            self.reason.as_deref(),
            self.text.as_deref(),
        )
    }
}

/// A new report.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreatedReport {
    report_id: i64,
    /// An admin answers until then.
    due_at: DateTime<Utc>,
}

/// Reports a message of the caller's conversations, or a result of an app.
#[utoipa::path(
    post, path = "/api/xcx/reports", tag = "chat", security(("bearer" = [])),
    request_body = Body,
    responses(
        (status = 201, body = CreatedReport),
        BodyFailures<Problem>,
    ),
)]
pub(crate) async fn create_report(
    State(db): State<Db>,
    State(notice): State<Notice>,
    caller: Caller,
    Json(body): Json<Body>,
) -> Result<(StatusCode, Json<CreatedReport>)> {
    let created = chat::reports::create(&db, &caller, &body.parse()?, notice.reports).await?;
    let view = CreatedReport {
        report_id: created.id,
        due_at: created.due_at,
    };
    Ok((StatusCode::CREATED, Json(view)))
}

/// The caller's reports, newest first.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReportsPage {
    items: Vec<OwnReport>,
    #[schema(required)]
    next_cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct OwnReport {
    report_id: i64,
    subject_type: String,
    subject_id: i64,
    reason: String,
    /// Null if the conversation was deleted.
    #[schema(required)]
    text: Option<String>,
    /// `open` or `resolved`.
    state: &'static str,
    due_at: DateTime<Utc>,
    created_at: DateTime<Utc>,
    #[schema(required)]
    resolved_at: Option<DateTime<Utc>>,
    /// The answer of the admin.
    #[schema(required)]
    answer: Option<String>,
}

impl From<Report> for OwnReport {
    fn from(report: Report) -> Self {
        Self {
            report_id: report.id,
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

/// Lists the caller's reports with their answers, newest first.
#[utoipa::path(
    get, path = "/api/xcx/reports", tag = "chat", security(("bearer" = [])),
    params(
        ("page" = Option<i64>, Query, description = "From 1", minimum = 1),
        ("page_size" = Option<i64>, Query, description = "Alias: `pageSize`", minimum = 1, maximum = 100),
        ("pageSize" = Option<i64>, Query, description = "Alias: `page_size`", minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the previous page; not with `page`"),
    ),
    responses(
        (status = 200, body = ReportsPage),
        QueryFailures<Problem>,
    ),
)]
pub(crate) async fn list_own_reports(
    State(db): State<Db>,
    caller: Caller,
    query: QueryText,
) -> Result<Json<ReportsPage>> {
    let paging = Paging::parse(&query, PAGE_SIZE, &reports::own_scope(&caller))?;
    let found = reports::list_own(&db, &caller, &paging).await?;
    Ok(Json(ReportsPage {
        items: found.items.into_iter().map(OwnReport::from).collect(),
        next_cursor: found.next_cursor,
    }))
}
