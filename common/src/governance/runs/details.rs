//! One run, with its prompt and response.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::json;
use sqlx::types::Json;

use super::Entry;
use crate::{
    governance::{
        audit::{self, Action},
        auth::SiteScope,
        prices::Yuan,
    },
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Result},
    },
};

/// All columns of a run. It has no `Debug`, which would print prompts and responses.
#[expect(missing_docs, reason = "plain data")]
pub struct LoggedRun {
    pub entry: Entry,
    /// The job that made the call.
    pub job_id: Option<i64>,
    /// The reply that the call generated.
    pub message_id: Option<i64>,
    pub request_prompt: Option<String>,
    /// Version of the prompt template.
    pub prompt_version: Option<String>,
    pub response_text: Option<String>,
    pub tokens_in: Option<i64>,
    pub tokens_out: Option<i64>,
    /// Most tokens first. Empty if DashScope reported no usage.
    pub models: Vec<ModelCost>,
    /// Requests to DashScope, including retries.
    pub attempts: i32,
    /// Session id at DashScope.
    pub session_id: Option<String>,
    /// DashScope's id of the request.
    pub upstream_request_id: Option<String>,
    pub finished_at: Option<DateTime<Utc>>,
    /// A word of [`crate::governance::alerts::Status`]. `None` if the run is no alert.
    pub alert_status: Option<String>,
}

/// What a run used of one model.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "plain data")]
pub struct ModelCost {
    /// `None` if DashScope did not name the model.
    pub model_id: Option<String>,
    pub input_tokens: i64,
    pub output_tokens: i64,
    /// `None` if the model has no price.
    #[serde(skip)]
    pub cost: Option<Yuan>,
}

/// Returns a run by its id. If a user sees its prompt and response, the audit log records it.
///
/// # Errors
/// [`Error::NotFound`] if the run does not exist or is of a site outside `scope`.
pub async fn find(db: &Db, scope: SiteScope, id: i64, seen_by: Option<i64>) -> Result<LoggedRun> {
    let mut tx = db.transaction().await?;
    let row = sqlx::query!(
        r#"
        select id, site_id, app_type, trigger_type, member_id, status, tokens_used,
               coalesce(tokens_charged, tokens_used, case when tokens_estimated then reserved_tokens else 0 end) as "tokens_charged!", latency_ms, first_token_ms, error_code, error_message,
               refusals, created_at, user_id, bot_id, model_id, finish_reason, cost, models as "models: Json<Vec<ModelCost>>", model_costs as "model_costs: Vec<Option<i64>>", job_id, message_id, request_prompt, prompt_version, response_text, tokens_in, tokens_out, attempts,
               session_id, upstream_request_id, finished_at, alert_status
        from biz.ai_run_logs where id = $2 and ($1::bigint is null or site_id = $1)
        "#,
        scope.site_id(),
        id,
    )
    .fetch_optional(&mut *tx)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    if let Some(user_id) = seen_by {
        let (action, object_id) = (Action::ReadRun, row.id.to_string());
        let object_id = Some(&*object_id);
        audit::record(&mut tx, action, row.site_id, user_id, object_id, json!({})).await?;
        tx.commit().await?;
    }
    let mut models = row.models.map_or_else(Vec::new, |models| models.0);
    for (model, cost) in models.iter_mut().zip(row.model_costs.unwrap_or_default()) {
        model.cost = cost.map(Yuan);
    }
    Ok(LoggedRun {
        entry: Entry {
            id: row.id,
            site_id: row.site_id,
            app_type: row.app_type,
            trigger_type: row.trigger_type,
            member_id: row.member_id,
            status: row.status,
            tokens_used: row.tokens_used,
            tokens_charged: row.tokens_charged,
            latency_ms: row.latency_ms,
            first_token_ms: row.first_token_ms,
            error_code: row.error_code,
            error_message: row.error_message,
            refusals: row.refusals,
            user_id: row.user_id,
            bot_id: row.bot_id,
            model_id: row.model_id,
            finish_reason: row.finish_reason,
            cost: row.cost.map(Yuan),
            created_at: row.created_at,
        },
        job_id: row.job_id,
        message_id: row.message_id,
        request_prompt: row.request_prompt,
        prompt_version: row.prompt_version,
        response_text: row.response_text,
        tokens_in: row.tokens_in,
        tokens_out: row.tokens_out,
        models,
        attempts: row.attempts,
        session_id: row.session_id,
        upstream_request_id: row.upstream_request_id,
        finished_at: row.finished_at,
        alert_status: row.alert_status,
    })
}
