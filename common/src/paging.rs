//! Pages and cursors of every list.
//!
//! A page number is cheap to think of and dear to answer far down; a cursor names the
//! last item seen, so that its cost does not grow with depth.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::{Error, Reason, Result},
    http::QueryText,
};

/// The most items of one page.
pub const MAX_PAGE_SIZE: i64 = 100;

/// Where a list begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From<K> {
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
    pub from: From<K>,
}

impl<K: DeserializeOwned> Paging<K> {
    /// Refuses what can be refused without knowing the list: the numbers.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn check(query: &QueryText) -> Result<()> {
        numbers(query, MAX_PAGE_SIZE).map(drop)
    }

    /// Reads `page`, `page_size` or `pageSize`, and `cursor`.
    ///
    /// `scope` is what a cursor is bound to: the list, whose it is, its order and filters.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn parse(query: &QueryText, default_size: i64, scope: &str) -> Result<Self> {
        let (page, size) = numbers(query, default_size)?;
        let from = match query.text("cursor")? {
            Some(text) => From::Key(key(text, scope)?),
            None => From::Offset((page.unwrap_or(1) - 1).saturating_mul(size)),
        };
        Ok(Self {
            page: page.unwrap_or(1),
            size,
            from,
        })
    }
}

/// What part of a list is asked for by those who count items, not pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice<K> {
    /// The most items.
    pub limit: i64,
    /// How many are skipped: none where a cursor is used.
    pub offset: i64,
    /// Where it begins.
    pub from: From<K>,
}

impl<K: DeserializeOwned> Slice<K> {
    /// Reads `limit`, `offset` and `cursor`, which is bound to `scope`.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn parse(query: &QueryText, usual_limit: i64, scope: &str) -> Result<Self> {
        let limit = query.limit("limit", usual_limit, MAX_PAGE_SIZE)?;
        let offset = query.integer("offset", 0, i64::MAX)?;
        let from = match (query.text("cursor")?, offset) {
            (Some(_), Some(_)) => {
                return Err(Error::invalid("cursor", Reason::Exclusive("offset")));
            }
            (Some(text), None) => From::Key(key(text, scope)?),
            (None, offset) => From::Offset(offset.unwrap_or(0)),
        };
        Ok(Self {
            limit,
            offset: offset.unwrap_or(0),
            from,
        })
    }
}

/// Page number, if given, and size.
fn numbers(query: &QueryText, default_size: i64) -> Result<(Option<i64>, i64)> {
    let page = query.integer("page", 1, i64::MAX)?;
    let snake = query.integer("page_size", 1, MAX_PAGE_SIZE)?;
    let camel = query.integer("pageSize", 1, MAX_PAGE_SIZE)?;
    if snake.is_some() && camel.is_some() {
        return Err(Error::invalid("pageSize", Reason::Exclusive("page_size")));
    }
    if page.is_some() && query.text("cursor")?.is_some() {
        return Err(Error::invalid("cursor", Reason::Exclusive("page")));
    }
    Ok((page, snake.or(camel).unwrap_or(default_size)))
}

/// The cursor of the item with this key, opaque to the client.
pub fn write_cursor<K: Serialize>(key: &K, scope: &str) -> Option<String> {
    serde_json::to_vec(&(scope, key))
        .ok()
        .map(|json| URL_SAFE_NO_PAD.encode(json))
}

/// The key in the parameter `cursor`.
fn key<K: DeserializeOwned>(text: &str, scope: &str) -> Result<K> {
    read_cursor(text, scope).ok_or(Error::invalid("cursor", Reason::Cursor))
}

fn read_cursor<K: DeserializeOwned>(text: &str, scope: &str) -> Option<K> {
    let json = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (written_for, key): (String, K) = serde_json::from_slice(&json).ok()?;
    (written_for == scope).then_some(key)
}

#[cfg(test)]
mod properties;
