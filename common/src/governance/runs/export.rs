//! Exports all runs of a list, page by page.

use futures_util::stream::{self, Stream};

use super::list::{Entry, RunQuery, read};
use crate::platform::{
    db::Db,
    error::Result,
    paging::{PageStart, Start, TimeKey},
    telemetry,
};

/// The most days that one export may cover.
pub const MAX_DAYS: u32 = 31;

/// Rows per page. Only one page is in memory.
const PAGE: i64 = 1_000;

/// The next step of the stream.
enum Step {
    Read(Vec<Entry>),
    After(TimeKey),
    End,
}

/// Exports all runs of `query`, newest first.
///
/// The first page is read before this returns, so that an error still becomes an error response.
/// Each further page is read when it is needed. No database connection is held between pages.
/// Runs that begin during the export are not included. The stream ends after its first error.
pub async fn export(
    db: Db,
    query: RunQuery,
) -> Result<impl Stream<Item = Result<Vec<Entry>>> + Send> {
    let first = next(&db, &query, PageStart::Offset(0)).await?;
    let span = tracing::Span::current();
    Ok(stream::try_unfold(Step::Read(first), move |step| {
        let (db, span) = (db.clone(), span.clone());
        async move {
            let entries = match step {
                Step::Read(entries) => entries,
                Step::After(key) => {
                    next(&db, &query, PageStart::Key(key))
                        .await
                        .inspect_err(|err| {
                            let cause = telemetry::chain(err);
                            span.in_scope(|| tracing::error!(cause, "export aborted"));
                        })?
                }
                Step::End => return Ok(None),
            };
            let is_full = i64::try_from(entries.len()).is_ok_and(|rows| rows == PAGE);
            let after = entries.last().filter(|_| is_full).map(Entry::key);
            Ok(Some((entries, after.map_or(Step::End, Step::After))))
        }
    }))
}

async fn next(db: &Db, query: &RunQuery, from: PageStart<TimeKey>) -> Result<Vec<Entry>> {
    let found = read(db, query, &Start::of(from), PAGE, 0).await?;
    Ok(found.entries)
}
