//! Lists as CSV (RFC 4180), generated while they are sent.
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
use chrono::{DateTime, SecondsFormat, Utc};
use csv::{Terminator, Writer, WriterBuilder};
use futures_util::{Stream, StreamExt as _, stream};

use super::QueryText;
use crate::platform::error::{Error, Reason, Result};

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Characters that begin a formula in a spreadsheet. With Chinese settings, also the full-width
/// ones.
const FORMULAS: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

/// Checks that the query has no paging parameters: a table has all rows.
///
/// # Errors
/// [`Error::Invalid`] with the parameter.
pub fn check(query: &QueryText) -> Result<()> {
    for name in ["page", "page_size", "pageSize", "cursor"] {
        if query.text(name)?.is_some() {
            return Err(Error::invalid(name, Reason::Exclusive("text/csv")));
        }
    }
    Ok(())
}

/// A row of a table.
pub trait Row {
    /// The name of the file that a browser saves.
    const FILE: &'static str;
    /// The header line.
    const COLUMNS: &'static [&'static str];

    /// The cells, in the order of the columns.
    fn cells(&self) -> Vec<String>;
}

/// The cell of an optional number.
pub fn number(number: Option<i64>) -> String {
    number.map_or_else(String::new, |number| number.to_string())
}

/// The cell of an optional text.
pub fn text(text: Option<&str>) -> String {
    text.unwrap_or_default().to_owned()
}

/// The cell of an instant.
pub fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Builds the response. Its body is the header line followed by all pages.
pub fn respond<T: Row>(pages: impl Stream<Item = Result<Vec<T>>> + Send + 'static) -> Response {
    let head = stream::once(async {
        write(BYTE_ORDER_MARK.to_vec(), |table| {
            table.write_record(T::COLUMNS)
        })
    });
    let rows = pages.map(|page| rows(&page?));
    let disposition = format!("attachment; filename=\"{}\"", T::FILE);
    let headers = [
        (CONTENT_TYPE, "text/csv; charset=utf-8"),
        (CONTENT_DISPOSITION, &disposition),
        (VARY, "accept"),
    ];
    (headers, Body::from_stream(head.chain(rows))).into_response()
}

fn rows<T: Row>(rows: &[T]) -> Result<Bytes> {
    write(Vec::new(), |table| {
        rows.iter()
            .try_for_each(|row| table.write_record(row.cells().into_iter().map(escape_formula)))
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
