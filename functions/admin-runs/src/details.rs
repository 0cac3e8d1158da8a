//! `GET /api/admin/ai/run-logs/{id}`.

use axum::extract::State;
use chrono::{DateTime, Utc};
use common::{
    Result,
    governance::{
        auth::SiteScope,
        runs::{self, LoggedRun, ModelCost},
    },
    platform::db::Db,
    web::{AdminProblem, ItemFailures, Json, PathText, Texts},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::list::RunItem;

/// A run with its full prompt and response.
#[derive(Serialize, ToSchema)]
pub(crate) struct RunDetails {
    #[serde(flatten)]
    item: RunItem,
    #[schema(required)]
    job_id: Option<i64>,
    #[schema(required)]
    message_id: Option<i64>,
    #[schema(required)]
    request_prompt: Option<String>,
    #[schema(required)]
    prompt_version: Option<String>,
    #[schema(required)]
    response_text: Option<String>,
    #[schema(required)]
    tokens_in: Option<i64>,
    #[schema(required)]
    tokens_out: Option<i64>,
    /// Most tokens first. Empty if DashScope reported no usage.
    models: Vec<ModelView>,
    /// Requests to DashScope, including retries.
    attempts: i32,
    #[schema(required)]
    session_id: Option<String>,
    /// DashScope's id of the request, for its support.
    #[schema(required)]
    upstream_request_id: Option<String>,
    #[schema(required)]
    error_code: Option<String>,
    #[schema(required)]
    error_message: Option<String>,
    #[schema(required)]
    finished_at: Option<DateTime<Utc>>,
}

/// What a run used of one model.
#[derive(Serialize, ToSchema)]
#[schema(as = ModelCost)]
struct ModelView {
    /// Null if DashScope did not name the model.
    #[schema(required)]
    model_id: Option<String>,
    input_tokens: i64,
    output_tokens: i64,
    /// In CNY, such as `0.012345`. Null if the model has no price.
    #[schema(required)]
    cost: Option<String>,
}

impl From<ModelCost> for ModelView {
    fn from(model: ModelCost) -> Self {
        Self {
            model_id: model.model_id,
            input_tokens: model.input_tokens,
            output_tokens: model.output_tokens,
            cost: model.cost.map(|cost| cost.to_string()),
        }
    }
}

impl From<LoggedRun> for RunDetails {
    fn from(mut details: LoggedRun) -> Self {
        Self {
            error_code: details.entry.error_code.take(),
            error_message: details.entry.error_message.take(),
            item: details.entry.into(),
            job_id: details.job_id,
            message_id: details.message_id,
            request_prompt: details.request_prompt,
            prompt_version: details.prompt_version,
            response_text: details.response_text,
            tokens_in: details.tokens_in,
            tokens_out: details.tokens_out,
            models: details.models.into_iter().map(ModelView::from).collect(),
            attempts: details.attempts,
            session_id: details.session_id,
            upstream_request_id: details.upstream_request_id,
            finished_at: details.finished_at,
        }
    }
}

/// Returns a run with its prompt and response.
#[utoipa::path(
    get, path = "/api/admin/ai/run-logs/{id}", tag = "admin", security(("bearer" = [])),
    params(
        ("id" = i64, Path, minimum = 1),
        ("site_id" = Option<i64>, Query, description = "Default: all sites of the admin", minimum = 1),
    ),
    responses(
        (status = 200, body = RunDetails),
        ItemFailures<AdminProblem>,
    ),
)]
pub(crate) async fn show_run(
    State(db): State<Db>,
    scope: SiteScope,
    texts: Texts,
    path: PathText,
) -> Result<Json<RunDetails>> {
    let details = runs::find(&db, scope, path.id("id")?, texts.seen_by()).await?;
    Ok(Json(details.into()))
}
