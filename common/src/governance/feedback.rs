//! Feedback of users on AI texts: a thumb, reasons and a comment.
//!
//! A text is a [`Subject`]: a reply in a chat or a result of an app. The noun of the subject checks
//! that the user may read it, and then calls `set`.

mod list;

use sqlx::PgConnection;

pub use list::{Entry, FeedbackQuery, export, list};

use crate::{
    governance::{apps::App, auth::Caller},
    platform::{
        db::StatementTimeout,
        error::{Error, Reason, Result},
        words::words,
    },
};

/// Length limit of a comment, in characters.
const MAX_COMMENT: usize = 2_000;

words! {
    /// Kind of an AI text, as in the API and the column `subject_type`.
    pub enum SubjectType {
        /// A row of `biz.ai_messages`.
        Message = "message",
        /// A row of `biz.ai_cache`.
        Insight = "insight",
    }
}

/// An AI text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "plain data")]
pub struct Subject {
    pub kind: SubjectType,
    pub id: i64,
}

/// The run that made an AI text.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub app: App,
    /// Version of the prompt. `None` if the run is not known.
    pub prompt_version: Option<String>,
    pub run_id: Option<i64>,
}

words! {
    /// A thumb, as in the API and the column `rating`.
    pub enum Rating {
        Up = "up",
        Down = "down",
    }
}

words! {
    /// What is wrong with a text, as in the API and the column `reasons`.
    pub enum Fault {
        Inaccurate = "inaccurate",
        Unhelpful = "unhelpful",
        Unsafe = "unsafe",
        Other = "other",
    }
}

/// Feedback that a user gives.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "plain data")]
pub struct Feedback {
    pub rating: Rating,
    /// Without duplicates.
    pub reasons: Vec<Fault>,
    /// Trimmed, 1 to 2,000 characters.
    pub comment: Option<String>,
}

impl Feedback {
    /// Checks the fields of a request. Returns `None` without a rating: the feedback is removed.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an unknown word, or a comment that is too long or contains NUL.
    pub fn parse(
        rating: Option<&str>,
        reasons: &[String],
        comment: Option<&str>,
    ) -> Result<Option<Self>> {
        let rating =
            rating.map(|word| Rating::parse(word).ok_or(Error::invalid("rating", Reason::Unknown)));
        let mut faults = Vec::new();
        for word in reasons {
            let fault = Fault::parse(word).ok_or(Error::invalid("reasons", Reason::Unknown))?;
            if !faults.contains(&fault) {
                faults.push(fault);
            }
        }
        let comment = remark("comment", comment)?;
        let rating = rating.transpose()?;
        Ok(rating.map(|rating| Self {
            rating,
            reasons: faults,
            comment,
        }))
    }
}

/// Checks an optional text of a user or admin: trimmed, at most 2,000 characters, without NUL.
/// An empty text is `None`.
///
/// # Errors
/// [`Error::Invalid`].
pub(crate) fn remark(field: &'static str, text: Option<&str>) -> Result<Option<String>> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    if text.chars().count() > MAX_COMMENT {
        return Err(Error::invalid(field, Reason::TooLong(MAX_COMMENT)));
    }
    if text.contains('\0') {
        return Err(Error::invalid(field, Reason::Nul));
    }
    Ok(Some(text.to_owned()))
}

/// Stores the caller's feedback on a subject, replaces it, or removes it (`None`). Idempotent.
///
/// The caller of this function has checked in the same transaction that the user may read the
/// subject, and holds a lock that keeps the subject from being deleted.
pub(crate) async fn set(
    tx: &mut PgConnection,
    caller: &Caller,
    subject: Subject,
    origin: &Origin,
    feedback: Option<&Feedback>,
) -> Result<()> {
    let Some(feedback) = feedback else {
        return remove(tx, caller, subject).await;
    };
    let reasons: Vec<String> = feedback
        .reasons
        .iter()
        .map(|fault| fault.name().to_owned())
        .collect();
    sqlx::query!(
        "insert into biz.ai_feedback as f (site_id, user_id, subject_type, subject_id, app_type, prompt_version, run_id,
                                           rating, reasons, comment)
         values ($1, $2, $3::text, $4, $5::text, $6, $7, $8::text, $9, $10)
         on conflict on constraint ai_feedback_subject_key do update set
             rating = excluded.rating, reasons = excluded.reasons, comment = excluded.comment, updated_at = clock_timestamp()",
        caller.site_id,
        caller.user_id,
        subject.kind.name(),
        subject.id,
        origin.app.name(),
        origin.prompt_version,
        origin.run_id,
        feedback.rating.name(),
        &reasons,
        feedback.comment,
    )
    .execute(tx)
    .with_statement_timeout()
    .await?;
    Ok(())
}

async fn remove(tx: &mut PgConnection, caller: &Caller, subject: Subject) -> Result<()> {
    sqlx::query!(
        "delete from biz.ai_feedback
         where site_id = $1 and user_id = $2 and subject_type = $3::text and subject_id = $4",
        caller.site_id,
        caller.user_id,
        subject.kind.name(),
        subject.id,
    )
    .execute(tx)
    .with_statement_timeout()
    .await?;
    Ok(())
}

#[cfg(test)]
mod properties;
