//! Extractors of path, query and headers. They keep the documented order of errors.
//!
//! A handler first checks its `Caller` (401, 403), then the body (413, 415, 400), and then the
//! fields (422). So these extractors never fail. They provide text, which the handler parses.

use std::{collections::HashMap, convert::Infallible, num::IntErrorKind};

use axum::extract::{FromRequestParts, RawPathParams};
use http::{HeaderMap, request::Parts};
use percent_encoding::percent_decode_str;
use uuid::Uuid;

use crate::platform::error::{Error, Reason, Result};

/// The parameters of the path, as text.
pub struct PathText(HashMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for PathText {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        // If a parameter is not UTF-8, all are dropped, and the handler rejects the missing one.
        let params = RawPathParams::from_request_parts(parts, state).await;
        Ok(Self(params.map_or_else(
            |_| HashMap::new(),
            |params| {
                params
                    .iter()
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect()
            },
        )))
    }
}

impl PathText {
    /// A numeric id.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is not a positive integer.
    pub fn id(&self, name: &'static str) -> Result<i64> {
        let id = self.0.get(name).and_then(|text| text.parse().ok());
        id.filter(|id| *id > 0)
            .ok_or(Error::invalid(name, Reason::Type))
    }

    /// A UUID.
    ///
    /// # Errors
    /// As [`uuid()`].
    pub fn uuid(&self, name: &'static str) -> Result<Uuid> {
        uuid(name, self.0.get(name).map_or("", String::as_str))
    }
}

/// Parses a UUID of 36 characters, in upper or lower case.
///
/// # Errors
/// [`Error::Invalid`] for anything else, such as the other forms of UUIDs.
pub fn uuid(field: &'static str, text: &str) -> Result<Uuid> {
    let id = Uuid::try_parse(text)
        .ok()
        .filter(|_| text.len() == uuid::fmt::Hyphenated::LENGTH);
    id.ok_or(Error::invalid(field, Reason::NotAnId))
}

/// The parameters of the query, as text. A value is `None` if its bytes are not UTF-8.
pub struct QueryText(Vec<(String, Option<String>)>);

impl<S: Send + Sync> FromRequestParts<S> for QueryText {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = query.split('&').map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name).unwrap_or_default(), decoded(value))
        });
        Ok(Self(pairs.collect()))
    }
}

/// Decodes `application/x-www-form-urlencoded` strictly. With the replacement characters of other
/// libraries, two different ids could become equal.
fn decoded(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

impl QueryText {
    /// Reads pairs of `application/x-www-form-urlencoded`. Empty values are dropped.
    pub(super) fn of_form(text: &str) -> Self {
        let pairs = text.split('&').filter_map(|pair| {
            let (name, value) = pair
                .split_once('=')
                .filter(|(_, value)| !value.is_empty())?;
            Some((decoded(name).unwrap_or_default(), decoded(value)))
        });
        Self(pairs.collect())
    }

    /// All parameters in their order, without those that are not UTF-8.
    pub fn pairs(&self) -> Vec<(String, String)> {
        let pairs = self.0.iter();
        pairs
            .filter(|(name, _)| !name.is_empty())
            .filter_map(|(name, value)| Some((name.clone(), value.clone()?)))
            .collect()
    }

    /// The parameters without one of them.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        let others = self.0.iter().filter(|(other, _)| other != name);
        Self(others.cloned().collect())
    }

    /// All values of a parameter, which may occur more than once.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a value is not UTF-8, or contains NUL.
    pub fn all(&self, name: &'static str) -> Result<Vec<&str>> {
        let values = self.0.iter().filter(|(key, _)| key == name);
        let values = values.map(|(_, value)| value.as_deref().filter(|text| !text.contains('\0')));
        values
            .map(|text| text.ok_or(Error::invalid(name, Reason::Nul)))
            .collect()
    }

    /// A parameter, if present.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it occurs twice, is not UTF-8, or contains NUL.
    pub fn text(&self, name: &'static str) -> Result<Option<&str>> {
        let mut values = self.0.iter().filter(|(key, _)| key == name);
        let Some((_, value)) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() {
            return Err(Error::invalid(name, Reason::Repeated));
        }
        let text = value.as_deref().filter(|text| !text.contains('\0'));
        text.map(Some).ok_or(Error::invalid(name, Reason::Nul))
    }

    /// A whole number within bounds, if present. Both bounds are inclusive.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is not a whole number, or is out of bounds.
    pub fn integer(&self, name: &'static str, least: i64, most: i64) -> Result<Option<i64>> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let number: i64 = text
            .parse()
            .map_err(|_| Error::invalid(name, Reason::Type))?;
        if (least..=most).contains(&number) {
            Ok(Some(number))
        } else {
            Err(Error::invalid(name, Reason::OutOfRange(least, most)))
        }
    }

    /// A number of items from 1, capped at `most`. The default is `usual`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is not a whole number above 0.
    pub fn limit(&self, name: &'static str, usual: i64, most: i64) -> Result<i64> {
        let Some(text) = self.text(name)? else {
            return Ok(usual);
        };
        match text.parse::<i64>().map_err(|err| *err.kind()) {
            Ok(..=0) => Err(Error::invalid(name, Reason::OutOfRange(1, most))),
            Ok(limit) => Ok(limit.min(most)),
            // A number that does not fit into 64 bits is also more than `most`.
            Err(IntErrorKind::PosOverflow) => Ok(most),
            Err(_) => Err(Error::invalid(name, Reason::Type)),
        }
    }

    /// A UUID, if present.
    ///
    /// # Errors
    /// As [`uuid()`].
    pub fn uuid(&self, name: &'static str) -> Result<Option<Uuid>> {
        self.text(name)?.map(|text| uuid(name, text)).transpose()
    }

    /// One of a fixed set of words, if present. `parse` returns `None` for an unknown word.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the word is unknown.
    pub fn one_of<T>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(word) = self.text(name)? else {
            return Ok(None);
        };
        parse(word)
            .map(Some)
            .ok_or(Error::invalid(name, Reason::Unknown))
    }
}

/// The headers, as bytes.
pub struct HeaderText(HeaderMap);

impl<S: Send + Sync> FromRequestParts<S> for HeaderText {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.headers.clone()))
    }
}

impl HeaderText {
    /// A header that may occur once. The case of the name does not matter.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it occurs twice, because it is unclear which value counts.
    pub fn once(&self, name: &'static str) -> Result<Option<&[u8]>> {
        let mut values = self.0.get_all(name).into_iter();
        let value = values.next();
        if values.next().is_some() {
            return Err(Error::invalid(name, Reason::Repeated));
        }
        Ok(value.map(http::HeaderValue::as_bytes))
    }
}

#[cfg(test)]
mod properties;
