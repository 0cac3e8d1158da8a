//! `GET /api/xcx/insights`.

use axum::{extract::State, response::Response};
use common::{
    Result,
    governance::{apps::App, auth::Caller},
    insights::{
        facts::Period,
        insight::{Filters, Insights, Selection},
        pages::Page,
    },
    platform::error::{Error, Reason},
    web::{AppWithResults, HeaderText, Problem, QueryFailures, QueryText, json_with_etag},
};

use crate::view::InsightList;

/// Reads the insights of a page, or one insight by app and target. A page leaves out the insights
/// that the caller's role may not read.
#[utoipa::path(
    get, path = "/api/xcx/insights", tag = "insights", security(("bearer" = [])),
    params(
        ("sourcePage" = Option<String>, Query, description = "`board-finance`, `customer-detail` or `task-detail`; other pages have no insights"),
        ("contextId" = Option<i64>, Query, description = "Id of the member or task of the page", minimum = 1),
        ("app" = inline(Option<AppWithResults>), Query, description = "Instead of `sourcePage`: name of an app", example = "app7_customer_analysis"),
        ("memberId" = Option<i64>, Query, description = "With `app`", minimum = 1, example = 10001),
        ("taskId" = Option<i64>, Query, description = "With `app`", minimum = 1),
        ("noteId" = Option<i64>, Query, description = "With `app`", minimum = 1),
        ("period" = Option<String>, Query, description = "`today`, `yesterday`, `this_week`, `last_week`, `this_month`, `last_month`, `last_3_months` or `last_6_months`"),
        ("area" = Option<String>, Query, description = "An area, or `all` (default)"),
        ("If-None-Match" = Option<String>, Header, description = "`ETag` of an earlier response"),
    ),
    responses(
        (status = 200, body = InsightList, headers(("ETag" = String))),
        (status = 304, description = "Nothing has changed"),
        QueryFailures<Problem>,
    ),
)]
pub(crate) async fn list_insights(
    State(insights): State<Insights>,
    caller: Caller,
    query: QueryText,
    headers: HeaderText,
) -> Result<Response> {
    let selection = selection(&query)?;
    let found = insights.list(&caller, &selection).await?;
    json_with_etag(&InsightList::from(found), &headers)
}

fn selection(query: &QueryText) -> Result<Selection> {
    let id = |name| query.integer(name, 1, i64::MAX);
    let filters = Filters {
        context_id: id("contextId")?,
        member_id: id("memberId")?,
        task_id: id("taskId")?,
        note_id: id("noteId")?,
        period: query.one_of("period", Period::parse)?,
        area: query.text("area")?.map(str::to_owned),
    };
    let page = query.one_of("sourcePage", Page::parse)?;
    let app = query.one_of("app", App::parse)?;
    select(page, app, &filters)
}

/// What a request asks for: a page or an app, not both.
pub(crate) fn select(page: Option<Page>, app: Option<App>, filters: &Filters) -> Result<Selection> {
    match (page, app) {
        (Some(page), None) => Selection::of_page(page, filters),
        (None, Some(app)) => Selection::of_app(app, filters),
        (Some(_), Some(_)) => Err(Error::invalid("app", Reason::Exclusive("sourcePage"))),
        (None, None) => Err(Error::invalid("sourcePage", Reason::Missing)),
    }
}
