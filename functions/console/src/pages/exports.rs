//! Lists as CSV: `/console/runs.csv`, `usage.csv`, `feedback.csv` and `audit.csv`. The parameters
//! are those of the pages.

use axum::{Router, extract::State, response::Response, routing::get};
use chrono::{Days, NaiveDate};
use common::{
    Result,
    governance::{
        audit::AuditQuery,
        feedback,
        notice::Notice,
        runs::{self, RunQuery},
        usage::{self, UsageQuery},
    },
    platform::{clock, dates::DateRange, db::Db},
    web::{LabelledFeedback, audit_as_csv, runs_as_csv, table},
};
use futures_util::stream;

use crate::{Parts, desk::Desk, format::in_url};

/// The routes of the tables.
pub(crate) fn routes() -> Router<Parts> {
    Router::new()
        .route("/console/runs.csv", get(export_runs))
        .route("/console/usage.csv", get(export_usage))
        .route("/console/feedback.csv", get(export_feedback))
        .route("/console/audit.csv", get(export_audit))
}

/// The link to the table with the filters of the current page. `changes` replace parameters.
pub(crate) fn link(desk: &Desk, file: &str, changes: &[(&str, &str)]) -> String {
    let is_changed = |name: &str| changes.iter().any(|(changed, _)| *changed == name);
    let kept = desk.query.pairs().into_iter().filter(|(name, _)| {
        !is_changed(name) && !["cursor", "page", "page_size", "site_id"].contains(&&**name)
    });
    let changes = changes.iter();
    let changes = changes.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let pairs: Vec<String> = kept
        .chain(changes)
        .map(|(name, value)| format!("{name}={}", in_url(&value)))
        .collect();
    desk.to(if pairs.is_empty() {
        file.to_owned()
    } else {
        format!("{file}?{}", pairs.join("&"))
    })
}

/// The link to the table of the runs of a page, with its days. The table needs both ends: by
/// default, the last days that one export may cover. `None` if the page covers more days.
pub(crate) fn link_to_runs(desk: &Desk) -> Option<(String, String)> {
    let to = match desk.value("date_to") {
        "" => desk.time(clock::now()).get(..10)?.to_owned(),
        to => to.to_owned(),
    };
    let from = match desk.value("date_from") {
        "" => {
            let last: NaiveDate = to.get(..10)?.parse().ok()?;
            let days = Days::new(u64::from(runs::MAX_DAYS) - 1);
            last.checked_sub_days(days)?.to_string()
        }
        from => from.to_owned(),
    };
    let dates = DateRange::new(Some(&from), Some(&to)).ok()?;
    dates.at_most(runs::MAX_DAYS).ok()?;
    let changes = [("date_from", &*from), ("date_to", &*to)];
    let link = link(desk, "runs.csv", &changes);
    Some((link, format!("{from} – {to}")))
}

/// Exports runs. The audit log records the user.
async fn export_runs(State(db): State<Db>, desk: Desk) -> Result<Response> {
    table::check(&desk.query)?;
    let list = RunQuery::parse(desk.scope, &desk.query)?;
    runs_as_csv(db, list, desk.texts).await
}

/// Exports usage. The audit log records the user.
async fn export_usage(State(db): State<Db>, desk: Desk) -> Result<Response> {
    let list = UsageQuery::parse(desk.scope, &desk.query)?;
    let items = usage::export(&db, list, desk.user.id).await?;
    Ok(table::respond(stream::iter([Ok(items)])))
}

/// Exports feedback with questions and answers. The audit log records the user.
async fn export_feedback(
    State(db): State<Db>,
    State(notice): State<Notice>,
    desk: Desk,
) -> Result<Response> {
    desk.texts.require()?;
    table::check(&desk.query)?;
    let list = super::feedback::query(&desk)?;
    let pages = feedback::export(db, list, desk.texts.user_id).await?;
    Ok(table::respond(LabelledFeedback::all(pages, notice.label)))
}

/// Exports the audit log, which then has a row about this, too.
async fn export_audit(State(db): State<Db>, desk: Desk) -> Result<Response> {
    table::check(&desk.query)?;
    let list = AuditQuery::parse(desk.scope, &desk.query)?;
    audit_as_csv(db, list, desk.texts).await
}
