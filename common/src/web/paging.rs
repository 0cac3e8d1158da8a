//! A page of a list, as the admin web sees it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    Result,
    paging::{Listed, Paging},
};

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
    pub fn of<K, R>(found: Listed<R>, paging: &Paging<K>) -> Result<Self>
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
