//! Pages and cursors of lists.
//!
//! The cost of a page by number grows with the number. A cursor names the last item of the previous
//! page, so its cost is constant.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use serde::{Serialize, de::DeserializeOwned};

/// The most items of one page.
pub const MAX_PAGE_SIZE: i64 = 100;

/// The limit for counting a list that may have millions of items. Beyond it the total is an
/// estimate, and pages are reached only by cursor.
pub const MAX_COUNTED: i64 = 10_000;

/// As [`MAX_COUNTED`], for the total of runs, alerts and jobs. There are millions of them, and with
/// this limit, counting takes less time than the page.
pub const MAX_COUNTED_ON_DESK: i64 = 1_000;

/// The latest accepted time, in microseconds since 1970. A forged cursor may contain any time, and
/// PostgreSQL has a smaller range.
const YEAR_9999: i64 = 253_402_300_799_000_000;

/// Where a page starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageStart<K> {
    /// After this number of items.
    Offset(i64),
    /// After the item with this key.
    Key(K),
}

/// The requested page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging<K> {
    /// The number of the page; 1 with a cursor.
    pub page: i64,
    /// Maximum number of items.
    pub size: i64,
    /// Where it begins.
    pub from: PageStart<K>,
}

/// The requested part of a list, for clients that use limit and offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice<K> {
    /// Maximum number of items.
    pub limit: i64,
    /// Number of skipped items; 0 with a cursor.
    pub offset: i64,
    /// Where it begins.
    pub from: PageStart<K>,
}

/// The key of a list that is sorted by time and then by id: microseconds since 1970, and id.
pub type TimeKey = (i64, i64);

/// The key of a list in two groups, each of which is sorted as [`TimeKey`]: true for the group that
/// comes first, microseconds since 1970, and id.
pub type GroupedKey = (bool, i64, i64);

/// The start of a page as SQL parameters, for lists sorted by time and id, newest first. The time
/// of a key is in microseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Start<Id = i64> {
    /// Number of skipped items.
    pub offset: i64,
    /// The time of the last item of the previous page.
    pub before: Option<DateTime<Utc>>,
    /// The id of that item.
    pub before_id: Option<Id>,
}

impl<Id> Start<Id> {
    /// Converts the start of a page. A time out of range is clamped.
    pub fn of(from: PageStart<(i64, Id)>) -> Self {
        match from {
            PageStart::Offset(offset) => Self {
                offset,
                before: None,
                before_id: None,
            },
            PageStart::Key((micros, id)) => Self {
                offset: 0,
                before: Some(time(micros)),
                before_id: Some(id),
            },
        }
    }
}

impl Start {
    /// As [`Self::of`], for a list in two groups. True if the page starts in the first group.
    pub fn of_grouped(from: PageStart<GroupedKey>) -> (bool, Self) {
        match from {
            PageStart::Offset(offset) => (true, Self::of(PageStart::Offset(offset))),
            PageStart::Key((first, micros, id)) => (first, Self::of(PageStart::Key((micros, id)))),
        }
    }
}

/// The time of a key, in microseconds since 1970. A time out of range is clamped.
pub fn time(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros.clamp(0, YEAR_9999)).unwrap_or_default()
}

/// Cuts `fetched` to one page, and returns the cursor of the next page if there is one.
///
/// The caller fetches `size + 1` items. The additional item shows whether another page follows.
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

/// One page of a list that may have millions of items.
#[derive(Debug)]
pub struct Page<T> {
    /// Newest first.
    pub items: Vec<T>,
    /// Number of items in the whole list, counted or estimated.
    pub total: i64,
    /// True if `total` is not exact. There may be more items.
    pub total_is_estimate: bool,
    /// The cursor of the next page, if there is one.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// The same page with other items.
    pub fn map<R>(self, change: impl FnMut(T) -> R) -> Page<R> {
        Page {
            items: self.items.into_iter().map(change).collect(),
            total: self.total,
            total_is_estimate: self.total_is_estimate,
            next_cursor: self.next_cursor,
        }
    }

    /// Builds a page with [`page`]. `total` was counted up to `MAX_COUNTED + 1`.
    pub fn counted<K: Serialize>(
        total: i64,
        fetched: impl IntoIterator<Item = (K, T)>,
        size: i64,
        scope: &str,
    ) -> Self {
        Self::counted_up_to(MAX_COUNTED, total, fetched, size, scope)
    }

    /// Builds a page with [`page`]. `total` was counted up to `max + 1`.
    pub fn counted_up_to<K: Serialize>(
        max: i64,
        total: i64,
        fetched: impl IntoIterator<Item = (K, T)>,
        size: i64,
        scope: &str,
    ) -> Self {
        let (items, next_cursor) = page(fetched, size, scope);
        Self {
            items,
            total: total.min(max),
            total_is_estimate: total > max,
            next_cursor,
        }
    }
}

/// The cursor that starts after the item with this key. It is opaque to the client.
pub fn write_cursor<K: Serialize>(key: &K, scope: &str) -> Option<String> {
    serde_json::to_vec(&(scope, key))
        .ok()
        .map(|json| URL_SAFE_NO_PAD.encode(json))
}

/// The key in a cursor. Returns `None` if the cursor was written for another scope.
pub(crate) fn read_cursor<K: DeserializeOwned>(text: &str, scope: &str) -> Option<K> {
    let json = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (written_for, key): (String, K) = serde_json::from_slice(&json).ok()?;
    (written_for == scope).then_some(key)
}
