//! Runs as CSV (RFC 4180), generated while it is sent.
//!
//! The table begins with a byte order mark. Without it, Excel decodes Chinese text with the code
//! page of the machine. Programs should skip the mark (encoding `utf-8-sig`).
//!
//! If an error occurs after the first bytes, the connection is closed. If Lambda does not close it,
//! the last lines are `Lambda-Runtime-Function-Error-…`.

use axum::{
    body::Body,
    http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, VARY},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use common::{
    Error, Result,
    governance::runs::{self, Entry, RunQuery},
    platform::error::Reason,
    web::QueryText,
};
use csv::{Terminator, Writer, WriterBuilder};
use futures_util::{Stream, StreamExt as _, stream};

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

const COLUMNS: [&str; 14] = [
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
];

/// Characters that begin a formula in a spreadsheet. With Chinese settings, also the full-width
/// ones.
const FORMULAS: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

/// Checks that the query has no paging parameters and that its dates are bounded.
pub(crate) fn check(query: &QueryText, list: &RunQuery) -> Result<()> {
    for name in ["page", "page_size", "pageSize", "cursor"] {
        if query.text(name)?.is_some() {
            return Err(Error::invalid(name, Reason::Exclusive("text/csv")));
        }
    }
    list.dates.at_most(runs::MAX_DAYS).map(drop)
}

/// Builds the response. Its body is the header line followed by all pages.
pub(crate) fn respond(pages: impl Stream<Item = Result<Vec<Entry>>> + Send + 'static) -> Response {
    let head = stream::once(async { head() });
    let rows = pages.map(|page| rows(&page?));
    let headers = [
        (CONTENT_TYPE, "text/csv; charset=utf-8"),
        (CONTENT_DISPOSITION, "attachment; filename=\"run-logs.csv\""),
        (VARY, "accept"),
    ];
    (headers, Body::from_stream(head.chain(rows))).into_response()
}

fn head() -> Result<Bytes> {
    write(BYTE_ORDER_MARK.to_vec(), |table| {
        table.write_record(COLUMNS)
    })
}

fn rows(entries: &[Entry]) -> Result<Bytes> {
    write(Vec::new(), |table| {
        entries
            .iter()
            .try_for_each(|entry| table.write_record(cells(entry)))
    })
}

fn write(
    prefix: Vec<u8>,
    write: impl FnOnce(&mut Writer<Vec<u8>>) -> csv::Result<()>,
) -> Result<Bytes> {
    let mut table = WriterBuilder::new()
        .terminator(Terminator::CRLF)
        .from_writer(prefix);
    write(&mut table).map_err(|_| Error::internal("a table could not be written"))?;
    let bytes = table.into_inner();
    bytes
        .map(Bytes::from)
        .map_err(|_| Error::internal("a table could not be written"))
}

/// The cells of a row, in the order of [`COLUMNS`].
fn cells(entry: &Entry) -> [String; 14] {
    let number = |number: Option<i64>| number.map_or_else(String::new, |number| number.to_string());
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    [
        entry.id.to_string(),
        entry.app_type.clone(),
        entry.trigger_type.clone(),
        number(entry.member_id),
        number(entry.tokens_used),
        entry.tokens_charged.to_string(),
        number(entry.latency_ms),
        number(entry.first_token_ms),
        entry.status.clone(),
        number(entry.refusals),
        entry.site_id.to_string(),
        entry
            .created_at
            .to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
        text(&entry.error_code),
        text(&entry.error_message),
    ]
    .map(escape_formula)
}

/// Puts an apostrophe before a formula, so that a spreadsheet shows it as text.
fn escape_formula(cell: String) -> String {
    if cell.starts_with(FORMULAS) {
        format!("'{cell}")
    } else {
        cell
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_that_begins_like_a_formula_is_escaped() {
        for (cell, escaped) in [
            ("=1+1", "'=1+1"),
            ("+86 138", "'+86 138"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("\r=1", "'\r=1"),
            ("＝1", "'＝1"),
            ("1=1", "1=1"),
            (" =1", " =1"),
            ("'=1", "'=1"),
            ("", ""),
            ("超时", "超时"),
        ] {
            assert_eq!(escape_formula(cell.to_owned()), escaped, "{cell:?}");
        }
    }

    #[test]
    fn special_characters_are_quoted_and_lines_end_with_crlf() {
        let written = write(Vec::new(), |table| {
            table.write_record(["a,b", "c\"d", "e\nf", "g"])
        });
        assert_eq!(&*written.unwrap(), b"\"a,b\",\"c\"\"d\",\"e\nf\",g\r\n");
    }
}
