//! Exports all runs of a list, page by page.

use futures_util::Stream;
use serde_json::json;

use super::list::{Entry, RunQuery, read};
use crate::{
    governance::audit::{self, Action},
    platform::{
        db::Db,
        error::Result,
        export::{self, Rows},
    },
};

/// The most days that one export may cover.
pub const MAX_DAYS: u32 = 31;

/// Rows per page.
const PAGE: i64 = 1_000;
/// The most runs that one page reads, if no index has all filters.
const READ: i64 = 20_000;

/// Exports all runs of `query`, newest first. Runs that begin during the export are not included.
/// The audit log records the user.
pub async fn export(
    db: Db,
    query: RunQuery,
    user_id: i64,
) -> Result<impl Stream<Item = Result<Vec<Entry>>> + Send> {
    let (action, details) = (
        Action::ExportRuns,
        json!({ "dates": query.dates.to_string() }),
    );
    audit::record_export(&db, action, query.scope, user_id, details).await?;
    let next = move |start| {
        let (db, query) = (db.clone(), query.clone());
        async move {
            let found = read(&db, &query, &start, PAGE, READ, 0).await?;
            Ok(Rows::of(found.entries, PAGE, Entry::key).or_next(found.end))
        }
    };
    export::pages(next).await
}
