//! Reads pages and cursors from the query, and writes the pages of admin lists.

use serde::{Serialize, de::DeserializeOwned};
use utoipa::ToSchema;

use super::QueryText;
use crate::platform::{
    error::{Error, Reason, Result},
    paging::{MAX_COUNTED, MAX_PAGE_SIZE, Page, PageStart, Paging, Slice, read_cursor},
};

impl<K: DeserializeOwned> Paging<K> {
    /// As [`Paging::parse`], for a list that may have millions of items.
    ///
    /// A page that starts beyond [`MAX_COUNTED`] is read as if it started there. If the list is
    /// shorter, the page is empty. Otherwise [`Paging::reaches`] returns an error.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn parse_bounded(query: &QueryText, default_size: i64, scope: &str) -> Result<Self> {
        let mut paging = Self::parse(query, default_size, scope)?;
        if let PageStart::Offset(MAX_COUNTED..) = paging.from {
            paging.from = PageStart::Offset(MAX_COUNTED);
        }
        Ok(paging)
    }

    /// Checks the page number and the size, which do not depend on the list.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn check(query: &QueryText) -> Result<()> {
        numbers(query, MAX_PAGE_SIZE).map(drop)
    }

    /// Reads `page`, `page_size` or `pageSize`, and `cursor`.
    ///
    /// A cursor is only valid for its `scope`: the list, its owner, its order and its filters.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn parse(query: &QueryText, default_size: i64, scope: &str) -> Result<Self> {
        let (page, size) = numbers(query, default_size)?;
        let from = match query.text("cursor")? {
            Some(text) => PageStart::Key(key(text, scope)?),
            None => PageStart::Offset((page.unwrap_or(1) - 1).saturating_mul(size)),
        };
        Ok(Self {
            page: page.unwrap_or(1),
            size,
            from,
        })
    }
}

impl<K> Paging<K> {
    /// Checks that the page was read at its own start, after [`Paging::parse_bounded`].
    ///
    /// # Errors
    /// [`Error::Invalid`] for a page so far down that only a cursor can reach it.
    pub fn reaches<T>(&self, found: &Page<T>) -> Result<()> {
        let is_far_down = (self.page - 1).saturating_mul(self.size) >= MAX_COUNTED;
        if is_far_down && found.total_is_estimate {
            return Err(Error::invalid("page", Reason::TooDeep));
        }
        Ok(())
    }
}

impl<K: DeserializeOwned> Slice<K> {
    /// Reads `limit`, `offset` and `cursor`. A cursor is only valid for its `scope`.
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
            (Some(text), None) => PageStart::Key(key(text, scope)?),
            (None, offset) => PageStart::Offset(offset.unwrap_or(0)),
        };
        Ok(Self {
            limit,
            offset: offset.unwrap_or(0),
            from,
        })
    }
}

/// The page number, if given, and the page size.
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

/// The key in the parameter `cursor`.
fn key<K: DeserializeOwned>(text: &str, scope: &str) -> Result<K> {
    read_cursor(text, scope).ok_or(Error::invalid("cursor", Reason::Cursor))
}

/// A page of an admin list.
#[derive(Serialize, ToSchema)]
pub struct AdminPage<T> {
    /// Newest first.
    pub items: Vec<T>,
    /// Number of items in the whole list; exact up to 10,000, in the run log up to 1,000.
    pub total: i64,
    /// True if `total` is not exact. There may be more items.
    pub total_is_estimate: bool,
    /// Page number from 1; 1 with a cursor.
    pub page: i64,
    /// Maximum number of items per page.
    pub page_size: i64,
    /// The cursor of the next page, or null on the last page.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

impl<T> AdminPage<T> {
    /// Builds the response from a page and its request.
    ///
    /// # Errors
    /// As [`Paging::reaches`].
    pub fn of<K, R>(found: Page<R>, paging: &Paging<K>) -> Result<Self>
    where
        T: From<R>,
    {
        paging.reaches(&found)?;
        Ok(Self {
            items: found.items.into_iter().map(T::from).collect(),
            total: found.total,
            total_is_estimate: found.total_is_estimate,
            page: paging.page,
            page_size: paging.size,
            next_cursor: found.next_cursor,
        })
    }
}

#[cfg(test)]
mod properties;
