//! Reports of users on messages and results, and their answers.

use serde_json::json;

use crate::{
    chat::messages,
    governance::{
        audit::{self, Action},
        auth::Caller,
        feedback::SubjectType,
        reports::{self, Created, NewReport, Report, ReportAnswer, ReportRules},
    },
    insights::results,
    platform::{
        db::Db,
        error::{Error, Reason, Result},
    },
};

/// Stores a report on a message of one of the caller's conversations, or on a result that the
/// caller may read.
///
/// # Errors
/// [`Error::NotFound`], also for a subject of another site. [`Error::NotOwner`] for a message of
/// another user. [`Error::Forbidden`] for a result that the caller's role may not read.
pub async fn create(
    db: &Db,
    caller: &Caller,
    report: &NewReport,
    rules: ReportRules,
) -> Result<Created> {
    let mut tx = db.transaction().await?;
    let id = report.subject.id;
    match report.subject.kind {
        SubjectType::Message => messages::check_owner(&mut tx, caller, id).await?,
        SubjectType::Insight => {
            results::find_readable(&mut tx, caller, id).await?;
        }
    }
    let created = reports::create(&mut tx, caller, report, rules).await?;
    tx.commit().await?;
    Ok(created)
}

/// Resolves a report with an answer. With `block`, also blocks its message. A message that was
/// deleted since is not an error.
///
/// # Errors
/// [`Error::NotFound`] if the site has no such report. [`Error::Conflict`] if it was answered
/// before. [`Error::Invalid`] for `block` on a report that is not about a message.
pub async fn resolve(
    db: &Db,
    site_id: i64,
    admin_id: i64,
    id: i64,
    answer: &ReportAnswer,
    block: bool,
) -> Result<Report> {
    let mut tx = db.transaction().await?;
    let report = reports::resolve(&mut tx, site_id, admin_id, id, answer).await?;
    if block {
        if report.subject_type != SubjectType::Message.name() {
            return Err(Error::invalid("block", Reason::Unknown));
        }
        match messages::block(&mut tx, site_id, admin_id, report.subject_id, true).await {
            Ok(()) | Err(Error::NotFound) => {}
            Err(err) => return Err(err),
        }
    }
    audit::record(
        &mut tx,
        Action::ResolveReport,
        site_id,
        admin_id,
        Some(&id.to_string()),
        json!({ "block": block }),
    )
    .await?;
    tx.commit().await?;
    Ok(report)
}
