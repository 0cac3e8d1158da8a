//! Bodies of HTML forms.

use std::ops::Deref;

use axum::extract::{FromRequest, Request};
use http::header::CONTENT_TYPE;

use super::{QueryText, json};
use crate::platform::error::{Error, Reason, Result};

/// The fields of a form (`application/x-www-form-urlencoded`), read like the parameters of a query.
/// A field without a value counts as missing.
pub struct FormText(QueryText);

impl<S: Send + Sync> FromRequest<S> for FormText {
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Self> {
        let (parts, body) = request.into_parts();
        let bytes = json::read(body).await?;
        let kind = parts.headers.get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        // A form without fields has no body, and clients send no type then.
        if !bytes.is_empty() && !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(Error::UnsupportedMediaType);
        }
        let text = str::from_utf8(&bytes).map_err(|_| Error::invalid("body", Reason::Nul))?;
        Ok(Self(QueryText::of_form(text)))
    }
}

impl Deref for FormText {
    type Target = QueryText;

    fn deref(&self) -> &QueryText {
        &self.0
    }
}
