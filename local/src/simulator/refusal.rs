//! Errors of DashScope and the forms in which they are sent.

use serde::Serialize;

/// An error of `DashScope`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// HTTP status. In a stream that has begun, it is in the `:HTTP_STATUS/` comment.
    pub status: u16,
    /// Such as `Throttling.RateQuota`.
    pub code: &'static str,
    pub message: String,
}

/// How an error is sent to a client that requested a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// HTTP error status and JSON.
    Plain,
    /// HTTP 200 and one error frame.
    FirstFrame,
    /// HTTP error status and a body framed as SSE.
    Framed,
    /// As `Framed`, but with content type `application/json`, and also without streaming.
    Mislabelled,
    /// HTTP 200 and JSON.
    Ok,
}

#[derive(Serialize)]
struct Body<'a> {
    code: &'a str,
    message: &'a str,
    request_id: &'a str,
}

impl Refusal {
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "InvalidParameter", message)
    }

    pub fn prompt_missing() -> Self {
        Self::invalid(
            "Required parameter(Prompt) missing or invalid, please check the request parameters.",
        )
    }

    pub fn too_large() -> Self {
        Self::new(413, "BadRequest.TooLarge", "Payload Too Large.")
    }

    pub fn invalid_api_key() -> Self {
        Self::new(401, "InvalidApiKey", "Invalid API-key provided.")
    }

    pub fn app_denied() -> Self {
        Self::new(403, "App.AccessDenied", "App access denied.")
    }

    pub fn throttled() -> Self {
        let message = "Requests rate limit exceeded, please try again later.";
        Self::new(429, "Throttling.RateQuota", message)
    }

    pub fn unavailable() -> Self {
        let message = "The model is currently unavailable, please try again later.";
        Self::new(503, "ModelUnavailable", message)
    }

    pub fn internal() -> Self {
        Self::new(
            500,
            "InternalError",
            "An internal error has occurred, please try again later.",
        )
    }

    pub fn inspection() -> Self {
        let message = "Output data may contain inappropriate content.";
        Self::new(400, "DataInspectionFailed", message)
    }

    /// JSON for the body or the `data:` line.
    pub fn json(&self, request_id: &str) -> String {
        super::json(&Body {
            code: self.code,
            message: &self.message,
            request_id,
        })
    }
}
