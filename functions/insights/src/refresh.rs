//! `POST /api/xcx/insights/refresh`.

use axum::{extract::State, http::StatusCode};
use common::{
    Result,
    governance::{apps::App, auth::Caller},
    insights::{
        facts::Period,
        insight::{Filters, Insights, Refresh, Refreshed},
        pages::Page,
    },
    platform::error::{Error, Reason},
    web::{AppWithResults, BodyFailures, Json, Problem},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::list::select;

/// The parameters of `GET /api/xcx/insights`.
#[derive(Deserialize, ToSchema)]
#[schema(as = RefreshBody)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Body {
    #[schema(example = "board-finance")]
    source_page: Option<String>,
    #[schema(minimum = 1)]
    context_id: Option<i64>,
    #[schema(inline, value_type = Option<AppWithResults>)]
    app: Option<String>,
    #[schema(minimum = 1)]
    member_id: Option<i64>,
    #[schema(minimum = 1)]
    task_id: Option<i64>,
    #[schema(minimum = 1)]
    note_id: Option<i64>,
    period: Option<String>,
    area: Option<String>,
    /// Generate valid insights again, too. Managers only.
    #[serde(default)]
    force: bool,
}

impl Body {
    fn parse(self) -> Result<Refresh> {
        let filters = Filters {
            context_id: id("contextId", self.context_id)?,
            member_id: id("memberId", self.member_id)?,
            task_id: id("taskId", self.task_id)?,
            note_id: id("noteId", self.note_id)?,
            period: word("period", self.period.as_deref(), Period::parse)?,
            area: text("area", self.area)?,
        };
        let page = word("sourcePage", self.source_page.as_deref(), Page::parse)?;
        let app = word("app", self.app.as_deref(), App::parse)?;
        Ok(Refresh {
            selection: select(page, app, &filters)?,
            is_forced: self.force,
        })
    }
}

fn id(field: &'static str, id: Option<i64>) -> Result<Option<i64>> {
    if id.is_some_and(|id| id < 1) {
        return Err(Error::invalid(field, Reason::OutOfRange(1, i64::MAX)));
    }
    Ok(id)
}

fn text(field: &'static str, text: Option<String>) -> Result<Option<String>> {
    if text.as_ref().is_some_and(|text| text.contains('\0')) {
        return Err(Error::invalid(field, Reason::Nul));
    }
    Ok(text)
}

fn word<T>(
    field: &'static str,
    word: Option<&str>,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>> {
    let Some(word) = word else { return Ok(None) };
    parse(word)
        .map(Some)
        .ok_or(Error::invalid(field, Reason::Unknown))
}

/// What a request has started.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RefreshResult {
    /// The job that generates the insights. Null if there is nothing to generate.
    #[schema(required)]
    job_id: Option<i64>,
    /// `generating`, `ready`, or `disabled`.
    state: &'static str,
}

/// Requests the insights that are missing or expired. At most six requests a minute and user start
/// a job.
#[utoipa::path(
    post, path = "/api/xcx/insights/refresh", tag = "insights", security(("bearer" = [])),
    request_body = Body,
    responses(
        (status = 200, body = RefreshResult, description = "There is nothing to generate"),
        (status = 202, body = RefreshResult, description = "A job generates the insights"),
        BodyFailures<Problem>, (status = 429, body = Problem),
    ),
)]
pub(crate) async fn refresh_insights(
    State(insights): State<Insights>,
    caller: Caller,
    Json(body): Json<Body>,
) -> Result<(StatusCode, Json<RefreshResult>)> {
    let Refreshed { job_id, state, .. } = insights.refresh(&caller, &body.parse()?).await?;
    let status = if job_id.is_some() {
        StatusCode::ACCEPTED
    } else {
        StatusCode::OK
    };
    let state = state.name();
    Ok((status, Json(RefreshResult { job_id, state })))
}
