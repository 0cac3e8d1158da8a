//! `GET /api/xcx/insights/{id}/history`.

use axum::extract::State;
use common::{
    Result,
    governance::auth::Caller,
    insights::insight::Insights,
    web::{ItemFailures, Json, PathText, Problem},
};

use crate::view::InsightList;

/// Returns the last 10 results of the target of an insight, newest first. Managers only.
#[utoipa::path(
    get, path = "/api/xcx/insights/{id}/history", tag = "insights", security(("bearer" = [])),
    params(("id" = i64, Path, description = "`id` of an insight", minimum = 1)),
    responses(
        (status = 200, body = InsightList),
        ItemFailures<Problem>,
    ),
)]
pub(crate) async fn list_insight_history(
    State(insights): State<Insights>,
    caller: Caller,
    path: PathText,
) -> Result<Json<InsightList>> {
    let found = insights.history(&caller, path.id("id")?).await?;
    Ok(Json(found.into()))
}
