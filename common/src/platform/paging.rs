//! Pages and cursors of every list.
//!
//! A page number is cheap to think of and dear to answer far down; a cursor names the
//! last item seen, so that its cost does not grow with depth.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use serde::{Serialize, de::DeserializeOwned};

/// The most items of one page.
pub const MAX_PAGE_SIZE: i64 = 100;

/// What is counted of a list that may hold millions: beyond it a total is an estimate, and pages have no
/// numbers but cursors.
pub const MAX_COUNTED: i64 = 10_000;

/// Microseconds since 1970; a forged cursor may name any time, PostgreSQL knows fewer.
const YEAR_9999: i64 = 253_402_300_799_000_000;

/// Where a list begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageStart<K> {
    /// After so many items.
    Offset(i64),
    /// After the item with this key.
    Key(K),
}

/// What part of a list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging<K> {
    /// The page's number: 1 where a cursor is used.
    pub page: i64,
    /// The most items.
    pub size: i64,
    /// Where it begins.
    pub from: PageStart<K>,
}

/// What part of a list is asked for by those who count items, not pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice<K> {
    /// The most items.
    pub limit: i64,
    /// How many are skipped: none where a cursor is used.
    pub offset: i64,
    /// Where it begins.
    pub from: PageStart<K>,
}

/// The key of a list that is sorted by time and then by id: microseconds since 1970, and id.
pub type TimeKey = (i64, i64);

/// Where a list that is sorted by time and then by id, the newest first, begins: as its statement is told.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// How many are skipped.
    pub offset: i64,
    /// The time of the last item seen.
    pub before: Option<DateTime<Utc>>,
    /// Its id.
    pub before_id: Option<i64>,
}

impl Start {
    /// As a page or a cursor has it.
    pub fn of(from: PageStart<TimeKey>) -> Self {
        match from {
            PageStart::Offset(offset) => Self {
                offset,
                before: None,
                before_id: None,
            },
            PageStart::Key((micros, id)) => Self {
                offset: 0,
                before: Some(
                    DateTime::from_timestamp_micros(micros.clamp(0, YEAR_9999)).unwrap_or_default(),
                ),
                before_id: Some(id),
            },
        }
    }
}

/// One page of a list of which one more item was fetched than asked for, and the cursor of the next page where
/// there is one: a page that happens to be full is not taken for the last but one.
pub fn page<K: Serialize, T>(
    fetched: impl IntoIterator<Item = (K, T)>,
    size: i64,
    scope: &str,
) -> (Vec<T>, Option<String>) {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let mut fetched = fetched.into_iter();
    let (keys, items): (Vec<K>, Vec<T>) = fetched.by_ref().take(size).unzip();
    let last = keys.last().filter(|_| fetched.next().is_some());
    (items, last.and_then(|key| write_cursor(key, scope)))
}

/// One page of a list that may hold millions.
#[derive(Debug)]
pub struct Page<T> {
    /// The newest first.
    pub items: Vec<T>,
    /// How many there are, as far as they were counted or estimated.
    pub total: i64,
    /// More than [`MAX_COUNTED`].
    pub total_is_estimate: bool,
    /// Where the next page begins, if there is one.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// As [`page`] has it, of a list that was counted up to one more than [`MAX_COUNTED`].
    pub fn counted<K: Serialize>(
        total: i64,
        fetched: impl IntoIterator<Item = (K, T)>,
        size: i64,
        scope: &str,
    ) -> Self {
        let (items, next_cursor) = page(fetched, size, scope);
        Self {
            items,
            total: total.min(MAX_COUNTED),
            total_is_estimate: total > MAX_COUNTED,
            next_cursor,
        }
    }
}

/// The cursor of the item with this key, opaque to the client.
pub fn write_cursor<K: Serialize>(key: &K, scope: &str) -> Option<String> {
    serde_json::to_vec(&(scope, key))
        .ok()
        .map(|json| URL_SAFE_NO_PAD.encode(json))
}

/// The key in a cursor that was written for this scope.
pub(crate) fn read_cursor<K: DeserializeOwned>(text: &str, scope: &str) -> Option<K> {
    let json = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (written_for, key): (String, K) = serde_json::from_slice(&json).ok()?;
    (written_for == scope).then_some(key)
}
