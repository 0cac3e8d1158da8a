//! Path, query and headers, read so that refusals come in the documented order.
//!
//! A handler first takes its `Caller` (401, 403), then its body (413, 415, 400), and only
//! then looks at fields (422). So the extractors of path and query never refuse: they hand
//! over text, and the handler asks for what it needs.

use std::{collections::HashMap, convert::Infallible, num::IntErrorKind};

use axum::extract::{FromRequestParts, RawPathParams};
use http::{HeaderMap, request::Parts};
use percent_encoding::percent_decode_str;
use uuid::Uuid;

use crate::platform::error::{Error, Reason, Result};

/// The parameters of the path, still text.
pub struct PathText(HashMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for PathText {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        // What is not UTF-8 is no id: it is left out, and refused when it is asked for.
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
    /// [`Error::Invalid`] when it is not a positive integer.
    pub fn id(&self, name: &'static str) -> Result<i64> {
        let id = self.0.get(name).and_then(|text| text.parse().ok());
        id.filter(|id| *id > 0)
            .ok_or(Error::invalid(name, Reason::Type))
    }

    /// An id that is a UUID.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is not one.
    pub fn uuid(&self, name: &'static str) -> Result<Uuid> {
        uuid(name, self.0.get(name).map_or("", String::as_str))
    }
}

/// A UUID as all clients write them: 36 characters, in either case.
///
/// # Errors
/// [`Error::Invalid`] for anything else, such as the other forms that UUIDs have.
pub fn uuid(field: &'static str, text: &str) -> Result<Uuid> {
    let id = Uuid::try_parse(text)
        .ok()
        .filter(|_| text.len() == uuid::fmt::Hyphenated::LENGTH);
    id.ok_or(Error::invalid(field, Reason::NotAnId))
}

/// The parameters of the query, still text; none where the bytes are not UTF-8.
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

/// As `application/x-www-form-urlencoded` has it, but strict: a library's replacement
/// characters would make one id of two.
fn decoded(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

impl QueryText {
    /// A parameter, if it is there.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is there twice, is not UTF-8 or holds a NUL.
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

    /// A whole number within bounds, if it is there.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is not one, or out of bounds.
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

    /// How many of something, from 1; who asks for more than `most` gets `most`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is no whole number above 0.
    pub fn limit(&self, name: &'static str, usual: i64, most: i64) -> Result<i64> {
        let Some(text) = self.text(name)? else {
            return Ok(usual);
        };
        match text.parse::<i64>().map_err(|err| *err.kind()) {
            Ok(..=0) => Err(Error::invalid(name, Reason::OutOfRange(1, most))),
            Ok(limit) => Ok(limit.min(most)),
            // More than 64 bits hold is more, too.
            Err(IntErrorKind::PosOverflow) => Ok(most),
            Err(_) => Err(Error::invalid(name, Reason::Type)),
        }
    }

    /// A UUID, if it is there.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is not one.
    pub fn uuid(&self, name: &'static str) -> Result<Option<Uuid>> {
        self.text(name)?.map(|text| uuid(name, text)).transpose()
    }

    /// One of a few words, if it is there: one that `parse` knows.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is another word.
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

/// The headers, still bytes.
pub struct HeaderText(HeaderMap);

impl<S: Send + Sync> FromRequestParts<S> for HeaderText {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.headers.clone()))
    }
}

impl HeaderText {
    /// A header that may be there once, in whatever case it is spelt.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is there twice: nobody says which counts.
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
