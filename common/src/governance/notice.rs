//! What an operator must publish about the AI: the label of its texts, the models, the provider,
//! the agreement with the users, and how to complain.
//!
//! The variables are the values of the deployment. A row of `biz.ai_notices` replaces some of them
//! for its site, but not the label: streams and exports carry it without a query.

use std::sync::Arc;

use serde::Deserialize;
use sqlx::types::Json;

use crate::{
    governance::{auth::Caller, reports::ReportRules},
    platform::{
        db::{Db, StatementTimeout},
        env::{ConfigError, Env},
        error::Result,
    },
};

/// The label if `AI_LABEL` is not set.
const DEFAULT_LABEL: &str = "内容由 AI 生成，仅供参考";

/// The visible label of AI text, as the rules on labelling of AI content require.
#[derive(Clone, Debug)]
pub struct AiLabel(Arc<str>);

impl AiLabel {
    /// Reads `AI_LABEL`.
    pub fn from_env(env: &Env) -> Self {
        Self(env.text("AI_LABEL").unwrap_or(DEFAULT_LABEL).into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A model, as the authority has filed it.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "plain data")]
pub struct Model {
    pub name: String,
    pub filing_number: Option<String>,
}

/// The notice of a deployment or of a site.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct Notice {
    pub label: AiLabel,
    pub models: Vec<Model>,
    pub provider: Option<String>,
    pub agreement_url: Option<String>,
    pub phone: Option<String>,
    pub email: Option<String>,
    pub url: Option<String>,
    /// When an answer to a complaint is due.
    pub reports: ReportRules,
}

impl Notice {
    /// Reads the notice of the deployment: `AI_…` and `COMPLAINT_…`.
    ///
    /// # Errors
    /// Names the variable that is not valid.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        Ok(Self {
            label: AiLabel::from_env(env),
            models: models(env)?,
            provider: env.text("AI_PROVIDER").map(str::to_owned),
            agreement_url: checked(env, "AI_AGREEMENT_URL", "an http or https URL", is_url)?,
            phone: checked(env, "COMPLAINT_PHONE", "a phone number", is_phone)?,
            email: checked(env, "COMPLAINT_EMAIL", "an email address", is_email)?,
            url: checked(env, "COMPLAINT_URL", "an http or https URL", is_url)?,
            reports: ReportRules::from_env(env)?,
        })
    }

    /// The notice of the caller's site: what its row sets, otherwise the values of the deployment.
    ///
    /// # Errors
    /// If the row cannot be read.
    pub async fn of_site(&self, db: &Db, caller: &Caller) -> Result<Self> {
        let row = sqlx::query!(
            r#"
            select models as "models: Json<Vec<Model>>", provider, agreement_url, complaint_phone, complaint_email, complaint_url
            from biz.ai_notices where site_id = $1
            "#,
            caller.site_id,
        )
        .fetch_optional(db)
        .with_statement_timeout()
        .await?;
        let mut notice = self.clone();
        let Some(row) = row else { return Ok(notice) };
        if let Some(Json(models)) = row.models {
            notice.models = models;
        }
        for (value, of_site) in [
            (&mut notice.provider, row.provider),
            (&mut notice.agreement_url, row.agreement_url),
            (&mut notice.phone, row.complaint_phone),
            (&mut notice.email, row.complaint_email),
            (&mut notice.url, row.complaint_url),
        ] {
            if of_site.is_some() {
                *value = of_site;
            }
        }
        Ok(notice)
    }
}

/// Reads `AI_MODELS`: `name=filing number`, separated by semicolons. The number may be empty.
fn models(env: &Env) -> Result<Vec<Model>, ConfigError> {
    const NAME: &str = "AI_MODELS";
    let invalid = || ConfigError::Invalid {
        name: NAME.to_owned(),
        expected: "name=filing number, separated by semicolons",
    };
    let text = env.text(NAME).unwrap_or_default();
    let parts = text
        .split(';')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let model = |part: &str| {
        let (name, number) = part.split_once('=')?;
        let (name, number) = (name.trim(), number.trim());
        (!name.is_empty()).then(|| Model {
            name: name.to_owned(),
            filing_number: (!number.is_empty()).then(|| number.to_owned()),
        })
    };
    parts.map(|part| model(part).ok_or_else(invalid)).collect()
}

fn checked(
    env: &Env,
    name: &'static str,
    expected: &'static str,
    is_valid: impl FnOnce(&str) -> bool,
) -> Result<Option<String>, ConfigError> {
    match env.text(name) {
        Some(value) if !is_valid(value) => Err(ConfigError::Invalid {
            name: name.to_owned(),
            expected,
        }),
        value => Ok(value.map(str::to_owned)),
    }
}

// The same rules as the checks of biz.ai_notices.

fn is_url(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or(text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace))
}

fn is_email(text: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && !part.contains(['@', ' ']);
    text.split_once('@')
        .is_some_and(|(name, host)| is_part(name) && is_part(host))
}

fn is_phone(text: &str) -> bool {
    text.chars().any(|character| character.is_ascii_digit())
        && text
            .chars()
            .all(|character| character.is_ascii_digit() || "+-() ".contains(character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_have_a_name_and_may_have_a_filing_number() {
        let read = |text: &str| {
            let notice = Notice::from_env(&Env::from_pairs([("AI_MODELS", text)]));
            let models = notice.ok()?.models.into_iter();
            Some(
                models
                    .map(|it| (it.name, it.filing_number))
                    .collect::<Vec<_>>(),
            )
        };
        let qwen = ("通义千问".to_owned(), Some("ZheJiang-1".to_owned()));
        assert_eq!(read(""), Some(Vec::new()));
        assert_eq!(
            read("通义千问=ZheJiang-1; 内部模型= ;"),
            Some(vec![qwen, ("内部模型".to_owned(), None)])
        );
        assert_eq!(read("通义千问"), None);
        assert_eq!(read("=ZheJiang-1"), None);
    }

    #[test]
    fn contacts_that_cannot_be_used_are_refused() {
        for (name, valid, invalid) in [
            ("AI_AGREEMENT_URL", "https://example.com/a", "example.com"),
            ("COMPLAINT_URL", "http://example.com", "https://"),
            ("COMPLAINT_EMAIL", "help@example.com", "help@example.com@"),
            ("COMPLAINT_PHONE", "+86 (571) 8888-0000", "call us"),
        ] {
            let read = |value: &str| Notice::from_env(&Env::from_pairs([(name, value)]));
            assert!(read(valid).is_ok(), "{name}");
            assert!(read(invalid).is_err(), "{name}");
        }
    }
}
