//! `PUT /api/xcx/insights/{id}/feedback`.

use axum::extract::State;
use common::{
    Result,
    governance::auth::Caller,
    insights::insight::Insights,
    web::{BodyFailures, FeedbackBody, GivenFeedback, Json, PathText, Problem},
};

/// Rates a result, replaces the rating, or removes it. Safe to repeat.
#[utoipa::path(
    put, path = "/api/xcx/insights/{id}/feedback", tag = "insights", security(("bearer" = [])),
    params(("id" = i64, Path, description = "`id` of an insight", minimum = 1)),
    request_body = FeedbackBody,
    responses(
        (status = 200, body = GivenFeedback),
        BodyFailures<Problem>,
    ),
)]
pub(crate) async fn set_insight_feedback(
    State(insights): State<Insights>,
    caller: Caller,
    path: PathText,
    Json(body): Json<FeedbackBody>,
) -> Result<Json<GivenFeedback>> {
    let id = path.id("id")?;
    let feedback = body.parse()?;
    insights
        .set_feedback(&caller, id, feedback.as_ref())
        .await?;
    Ok(Json(feedback.into()))
}
