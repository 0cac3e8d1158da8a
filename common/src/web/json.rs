//! JSON request and response bodies.

use axum::{
    body::Body,
    extract::{FromRequest, Request},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header::CONTENT_TYPE, request::Parts};
use http_body_util::{BodyExt as _, Limited};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};

use crate::platform::{
    error::{Error, Reason, Result},
    surrogates::without_halves,
};

/// The largest accepted body, in bytes.
const MAX_BODY: usize = 128 * 1024;

/// A JSON body.
///
/// In a request, an invalid field is rejected with an error that names it. A response is serialized
/// into a plain `Vec`, which is faster for a long list than axum's own `Json`.
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Self> {
        let (parts, body) = request.into_parts();
        let bytes = read(body).await?;
        if !is_json(&parts) {
            return Err(Error::UnsupportedMediaType);
        }
        // Two steps, because a wrong field and wrong syntax are different errors.
        // An input limit of a phone may cut an emoji in two.
        let value: serde_json::Value =
            serde_json::from_slice(&without_halves(&bytes)).map_err(|_| Error::InvalidJson)?;
        if !value.is_object() {
            return Err(Error::invalid("body", Reason::Type));
        }
        serde_path_to_error::deserialize(value)
            .map(Self)
            .map_err(|err| {
                let field = err.path().to_string();
                Error::invalid(
                    if field == "." {
                        "body".to_owned()
                    } else {
                        field
                    },
                    Reason::Type,
                )
            })
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(bytes) => {
                let json = HeaderValue::from_static("application/json");
                ([(CONTENT_TYPE, json)], bytes).into_response()
            }
            Err(err) => {
                Error::Internal("the response cannot be serialized".into(), Some(err.into()))
                    .into_response()
            }
        }
    }
}

/// Distinguishes null from a missing field. Use it with `#[serde(default)]`.
///
/// # Errors
/// The value is of another type.
pub fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    value: D,
) -> Result<Option<Option<T>>, D::Error> {
    Deserialize::deserialize(value).map(Some)
}

pub(super) async fn read(body: Body) -> Result<bytes::Bytes> {
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(err) if err.is::<http_body_util::LengthLimitError>() => Err(Error::PayloadTooLarge),
        // The client disconnected, so no client receives this response.
        Err(_) => Err(Error::InvalidJson),
    }
}

fn is_json(parts: &Parts) -> bool {
    let value = parts
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = value
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

#[cfg(test)]
mod properties;
