//! Exports a whole list, page by page.

use futures_util::stream::{self, Stream};

use super::{
    error::Result,
    paging::{PageStart, Start, TimeKey},
    telemetry,
};

/// The next step of the stream.
enum Step<T> {
    Read(Vec<T>),
    After(TimeKey),
    End,
}

/// Reads a list with `read`, which returns at most `size` rows from a start. `key` is the key of a
/// row. Only one page is in memory.
///
/// The first page is read before this returns, so that an error still becomes an error response.
/// Each further page is read when it is needed. No database connection is held between pages. Rows
/// that are added during the export are not included. The stream ends after its first error.
pub(crate) async fn pages<T, Read, Rows>(
    size: i64,
    read: Read,
    key: fn(&T) -> TimeKey,
) -> Result<impl Stream<Item = Result<Vec<T>>> + Send>
where
    T: Send,
    Read: Fn(Start) -> Rows + Clone + Send,
    Rows: Future<Output = Result<Vec<T>>> + Send,
{
    let first = read(Start::of(PageStart::Offset(0))).await?;
    let span = tracing::Span::current();
    Ok(stream::try_unfold(Step::Read(first), move |step| {
        let (read, span) = (read.clone(), span.clone());
        async move {
            let rows = match step {
                Step::Read(rows) => rows,
                Step::After(key) => {
                    read(Start::of(PageStart::Key(key)))
                        .await
                        .inspect_err(|err| {
                            let cause = telemetry::chain(err);
                            span.in_scope(|| tracing::error!(cause, "export aborted"));
                        })?
                }
                Step::End => return Ok(None),
            };
            let is_full = i64::try_from(rows.len()).is_ok_and(|rows| rows == size);
            let after = rows.last().filter(|_| is_full).map(key);
            Ok(Some((rows, after.map_or(Step::End, Step::After))))
        }
    }))
}
