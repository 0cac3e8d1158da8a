//! `ETag`, `If-None-Match` and `If-Match`.

use axum::response::{IntoResponse, Response};
use http::{
    HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, ETAG},
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use super::{HeaderText, Json};
use crate::platform::error::{Error, Result};

/// Renders JSON with a strong `ETag`, or 304 if the client has this version. Clients must ask each
/// time, because the caller's rights may have changed.
///
/// # Errors
/// [`Error::Invalid`] if `If-None-Match` occurs twice.
pub fn json_with_etag(body: &impl Serialize, headers: &HeaderText) -> Result<Response> {
    let body = serde_json::to_vec(body).map_err(|err| {
        Error::Internal("the response cannot be serialized".into(), Some(err.into()))
    })?;
    let etag = etag_of(&version_of(&body));
    let known = headers.once("if-none-match")?;
    let is_known = known.is_some_and(|known| matches(known, etag.as_bytes()));
    let tag = HeaderValue::try_from(etag)
        .map_err(|err| Error::Internal("an ETag is not a header".into(), Some(err.into())))?;
    let cached = (
        [(ETAG, tag)],
        [(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"))],
    );
    Ok(if is_known {
        (StatusCode::NOT_MODIFIED, cached).into_response()
    } else {
        let json = HeaderValue::from_static("application/json");
        (cached, [(CONTENT_TYPE, json)], body).into_response()
    })
}

/// An item of a list with its version, for `If-Match`.
#[derive(Serialize, ToSchema)]
pub struct Versioned<T> {
    #[serde(flatten)]
    item: T,
    /// As in the header `ETag`.
    etag: String,
}

impl<T: Serialize> Versioned<T> {
    /// Adds the version.
    pub fn new(item: T) -> Self {
        let etag = etag_of(&version_of_object(&item));
        Self { item, etag }
    }

    /// The version, as in the header `ETag`.
    pub fn etag(&self) -> &str {
        &self.etag
    }
}

/// The version of a text. It differs if any byte differs.
fn version_of(text: &[u8]) -> String {
    format!("{:x}", Sha256::digest(text))
}

/// The version of an object. It differs if any member differs.
fn version_of_object(object: &impl Serialize) -> String {
    // Writing plain data to a Vec cannot fail.
    version_of(&serde_json::to_vec(object).unwrap_or_default())
}

/// The tag of a version, for `ETag`.
pub fn etag_of(version: &str) -> String {
    format!("\"{version}\"")
}

/// Renders an object that was changed or created, with its version as `ETag`.
pub fn json_with_version(object: &impl Serialize) -> Response {
    let etag = etag_of(&version_of_object(object));
    ([(ETAG, etag)], Json(object)).into_response()
}

/// The header `If-Match` of a request that changes an object.
#[derive(Debug)]
pub struct IfMatch(Option<Vec<u8>>);

impl IfMatch {
    /// # Errors
    /// [`Error::Invalid`] if the header occurs twice.
    pub fn of(headers: &HeaderText) -> Result<Self> {
        Ok(Self(headers.once("if-match")?.map(<[u8]>::to_vec)))
    }

    /// True if the client may replace this stored object. Without the header, it may.
    pub fn allows_object(&self, stored: &impl Serialize) -> bool {
        self.0.is_none() || self.allows(Some(&version_of_object(stored)))
    }

    /// True if the client may replace the stored version. `None`: nothing is stored.
    pub fn allows(&self, version: Option<&str>) -> bool {
        match (&self.0, version) {
            (None, _) => true,
            (Some(list), Some(version)) => matches(list, etag_of(version).as_bytes()),
            (Some(_), None) => false,
        }
    }
}

/// True if the list of tags contains the tag. A proxy may have marked it as weak.
fn matches(list: &[u8], etag: &[u8]) -> bool {
    let mut tags = list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    tags.any(|tag| tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_replaced_if_the_client_has_it_or_sends_none() {
        let if_match = |text: &str| IfMatch(Some(text.as_bytes().to_vec()));
        assert!(IfMatch(None).allows(None) && IfMatch(None).allows(Some("a")));
        assert!(if_match("\"a\"").allows(Some("a")) && if_match("*").allows(Some("a")));
        assert!(!if_match("\"b\"").allows(Some("a")) && !if_match("*").allows(None));
    }

    #[test]
    fn a_tag_is_found_in_a_list_and_if_it_is_weak() {
        for list in ["\"a\"", "W/\"a\"", "\"b\", \"a\"", "*"] {
            assert!(matches(list.as_bytes(), b"\"a\""), "{list}");
        }
        for list in ["", "a", "\"b\"", "\"a"] {
            assert!(!matches(list.as_bytes(), b"\"a\""), "{list}");
        }
    }
}
