//! What a viewer of a site does not see: prompts, answers and all other texts of users and apps.
//!
//! [`SiteScope`](crate::governance::auth::SiteScope) marks the request of a viewer, and
//! [`boundary`](super::boundary) removes the texts from its response. So a new list of the desk
//! needs no rule of its own.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{body::Body, response::Response};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use serde_json::Value;

use crate::platform::error::{Error, Result};

/// Members that are null for a viewer, at any depth of a response.
const TEXTS: [&str; 10] = [
    "request_prompt",
    "response_text",
    "question",
    "answer",
    "result_json",
    "comment",
    "text",
    "content",
    "error_message",
    "payload",
];

/// An extension of each request: whether its response has no texts.
#[derive(Clone, Debug, Default)]
pub(super) struct HiddenTexts(Arc<AtomicBool>);

impl HiddenTexts {
    pub(super) fn hide(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn are_hidden(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Sets the texts in a JSON response to null. Other responses, such as tables, do not change.
pub(super) async fn without_texts(response: Response) -> Result<Response> {
    let (mut parts, body) = response.into_parts();
    let kind = parts.headers.get(CONTENT_TYPE);
    if kind.is_none_or(|kind| kind != "application/json") {
        return Ok(Response::from_parts(parts, body));
    }
    let failed = |err: axum::Error| Error::Internal("a response failed".into(), Some(err.into()));
    let body = axum::body::to_bytes(body, usize::MAX)
        .await
        .map_err(failed)?;
    let not_json = |err: serde_json::Error| Error::Internal("not JSON".into(), Some(err.into()));
    let mut value: Value = serde_json::from_slice(&body).map_err(not_json)?;
    hide(&mut value);
    parts.headers.remove(CONTENT_LENGTH);
    Ok(Response::from_parts(parts, Body::from(value.to_string())))
}

/// Sets all texts of users and apps to null, at any depth.
pub fn hide(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if TEXTS.contains(&&**name) {
                    *member = Value::Null;
                } else {
                    hide(member);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_are_hidden_at_any_depth_and_figures_are_not() {
        let mut value = json!({
            "items": [{ "id": 7, "payload": { "order_id": 1 }, "runs": [{ "answer": "a", "calls": 3 }] }],
            "error_message": "e",
        });
        hide(&mut value);
        let hidden = json!({
            "items": [{ "id": 7, "payload": null, "runs": [{ "answer": null, "calls": 3 }] }],
            "error_message": null,
        });
        assert_eq!(value, hidden);
    }
}
