//! Pages and cursors of lists: read from the query, and written as the admin web sees them.

use serde::{Serialize, de::DeserializeOwned};
use utoipa::ToSchema;

use super::QueryText;
use crate::platform::{
    error::{Error, Reason, Result},
    paging::{MAX_COUNTED, MAX_PAGE_SIZE, Page, PageStart, Paging, Slice, read_cursor},
};

impl<K: DeserializeOwned> Paging<K> {
    /// As [`Paging::parse`], of a list that may hold millions: a page that begins beyond [`MAX_COUNTED`] is read as if it
    /// began there. Where the list is no longer it is past the end; else [`Paging::reaches`] says no.
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
    /// Whether the page was read where it begins, of a list so long.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a page so far down that only a cursor leads there.
    pub fn reaches<T>(&self, found: &Page<T>) -> Result<()> {
        let is_far_down = (self.page - 1).saturating_mul(self.size) >= MAX_COUNTED;
        if is_far_down && found.total_is_estimate {
            return Err(Error::invalid("page", Reason::TooDeep));
        }
        Ok(())
    }
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

/// The key in the parameter `cursor`.
fn key<K: DeserializeOwned>(text: &str, scope: &str) -> Result<K> {
    read_cursor(text, scope).ok_or(Error::invalid("cursor", Reason::Cursor))
}

/// One page of a list of the admin web.
#[derive(Serialize, ToSchema)]
pub struct AdminPage<T> {
    /// The newest first.
    pub items: Vec<T>,
    /// Exact up to 10,000.
    pub total: i64,
    /// There are more than were counted.
    pub total_is_estimate: bool,
    /// From 1; 1 where a cursor was given.
    pub page: i64,
    /// The most items.
    pub page_size: i64,
    /// Where the next page begins.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

impl<T> AdminPage<T> {
    /// What was found, as it was asked for.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] for a page so far down that only a cursor leads there.
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
