//! Exports of a whole list, page by page or in other parts.

use futures_util::{
    TryStreamExt as _,
    stream::{self, Stream},
};

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
    Ok(parts(Step::Read(first), move |step| {
        let read = read.clone();
        async move {
            let rows = match step {
                Step::Read(rows) => rows,
                Step::After(key) => read(Start::of(PageStart::Key(key))).await?,
                Step::End => return Ok(None),
            };
            let is_full = i64::try_from(rows.len()).is_ok_and(|rows| rows == size);
            let after = rows.last().filter(|_| is_full).map(key);
            Ok(Some((rows, after.map_or(Step::End, Step::After))))
        }
    }))
}

/// The parts of an export. `next` returns a part and the position of the next one, or `None` at
/// the end. Logs the error that aborts the export, because its response has already begun.
pub(crate) fn parts<Position, Part, Next, Found>(
    start: Position,
    next: Next,
) -> impl Stream<Item = Result<Part>> + Send
where
    Position: Send,
    Part: Send,
    Next: Fn(Position) -> Found + Send,
    Found: Future<Output = Result<Option<(Part, Position)>>> + Send,
{
    let span = tracing::Span::current();
    stream::try_unfold(start, next).inspect_err(move |err| {
        let cause = telemetry::chain(err);
        span.in_scope(|| tracing::error!(cause, "export aborted"));
    })
}
