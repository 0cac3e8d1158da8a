//! Rows of the lists that are exported as CSV.

use axum::response::Response;
use futures_util::{Stream, TryStreamExt as _};

use super::{
    Texts, hide_texts,
    table::{self, Row, instant, number, text},
};
use crate::{
    governance::{
        audit::{self, AuditQuery},
        feedback,
        notice::AiLabel,
        runs::{self, RunQuery},
        usage,
    },
    platform::{db::Db, error::Result},
};

/// Exports all runs of at most 31 days. A viewer gets no error messages.
///
/// # Errors
/// [`Error::Invalid`](crate::Error::Invalid) if an end of the range is missing, or if the range is
/// too long.
pub async fn runs_as_csv(db: Db, query: RunQuery, texts: Texts) -> Result<Response> {
    query.dates.at_most(runs::MAX_DAYS)?;
    let pages = runs::export(db, query, texts.user_id).await?;
    Ok(table::respond(pages.map_ok(move |mut page| {
        if texts.are_hidden() {
            for run in &mut page {
                run.error_message = None;
            }
        }
        page
    })))
}

/// Exports the audit log, which then has a row about this, too. A viewer gets no texts.
///
/// # Errors
/// If the database is unavailable.
pub async fn audit_as_csv(db: Db, query: AuditQuery, texts: Texts) -> Result<Response> {
    let pages = audit::export(db, query, texts.user_id).await?;
    Ok(table::respond(pages.map_ok(move |mut page| {
        if texts.are_hidden() {
            for entry in &mut page {
                hide_texts(&mut entry.details);
            }
        }
        page
    })))
}

impl Row for runs::Entry {
    const FILE: &'static str = "run-logs.csv";
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "app_type",
        "trigger_type",
        "member_id",
        "tokens_used",
        "tokens_charged",
        "latency_ms",
        "first_token_ms",
        "status",
        "refusals",
        "site_id",
        "created_at",
        "error_code",
        "error_message",
        "user_id",
        "bot_id",
        "model_id",
        "finish_reason",
        "cost",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.app_type.clone(),
            self.trigger_type.clone(),
            number(self.member_id),
            number(self.tokens_used),
            self.tokens_charged.to_string(),
            number(self.latency_ms),
            number(self.first_token_ms),
            self.status.clone(),
            number(self.refusals),
            self.site_id.to_string(),
            instant(self.created_at),
            text(self.error_code.as_deref()),
            text(self.error_message.as_deref()),
            number(self.user_id),
            self.bot_id.map_or_else(String::new, |id| id.to_string()),
            text(self.model_id.as_deref()),
            text(self.finish_reason.as_deref()),
            self.cost.map_or_else(String::new, |cost| cost.to_string()),
        ]
    }
}

impl Row for usage::Item {
    const FILE: &'static str = "usage.csv";
    const COLUMNS: &'static [&'static str] = &[
        "key",
        "label",
        "calls",
        "successes",
        "failures",
        "tokens_in",
        "tokens_out",
        "tokens",
        "cost",
        "unpriced_calls",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            text(self.key.as_deref()),
            text(self.label.as_deref()),
            self.calls.to_string(),
            self.successes.to_string(),
            self.failures.to_string(),
            self.tokens_in.to_string(),
            self.tokens_out.to_string(),
            self.tokens.to_string(),
            self.cost.to_string(),
            self.unpriced_calls.to_string(),
        ]
    }
}

/// Feedback with the label that exports of AI texts must have.
pub struct LabelledFeedback(feedback::Entry, AiLabel);

impl LabelledFeedback {
    /// Adds the label to all feedback of an export.
    pub fn all(
        pages: impl Stream<Item = Result<Vec<feedback::Entry>>> + Send + 'static,
        label: AiLabel,
    ) -> impl Stream<Item = Result<Vec<Self>>> + Send + 'static {
        pages.map_ok(move |page| {
            let entries = page.into_iter();
            entries.map(|entry| Self(entry, label.clone())).collect()
        })
    }
}

impl Row for LabelledFeedback {
    const FILE: &'static str = "feedback.csv";
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "site_id",
        "subject_type",
        "subject_id",
        "rating",
        "reasons",
        "comment",
        "user_id",
        "app_type",
        "prompt_version",
        "question",
        "answer",
        "run_id",
        "created_at",
        "label",
    ];

    fn cells(&self) -> Vec<String> {
        let Self(entry, label) = self;
        vec![
            entry.id.to_string(),
            entry.site_id.to_string(),
            entry.subject_type.clone(),
            entry.subject_id.to_string(),
            entry.rating.clone(),
            entry.reasons.join(" "),
            text(entry.comment.as_deref()),
            entry.user_id.to_string(),
            entry.app_type.clone(),
            text(entry.prompt_version.as_deref()),
            text(entry.question.as_deref()),
            text(entry.answer.as_deref()),
            number(entry.run_id),
            instant(entry.created_at),
            label.as_str().to_owned(),
        ]
    }
}

impl Row for audit::Entry {
    const FILE: &'static str = "audit.csv";
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "site_id",
        "user_id",
        "api_key_id",
        "action",
        "object_id",
        "details",
        "created_at",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.to_string(),
            number(self.site_id),
            self.user_id.to_string(),
            number(self.api_key_id),
            self.action.clone(),
            text(self.object_id.as_deref()),
            self.details.to_string(),
            instant(self.created_at),
        ]
    }
}
