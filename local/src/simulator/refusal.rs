//! Errors in the service's words, and the forms they come in.

use serde::Serialize;

/// An error as `DashScope` puts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// HTTP status; in a stream that has begun, the number in the `:HTTP_STATUS/` comment.
    pub status: u16,
    /// Such as `Throttling.RateQuota`.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

/// How a refusal travels to a client that asked for a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// HTTP error status and JSON.
    Plain,
    /// HTTP 200 and one error frame.
    FirstFrame,
    /// HTTP error status and a body framed as SSE.
    Framed,
    /// The same, labelled `application/json`; asked for a stream or not.
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

    /// The JSON of the body, or of the `data:` line.
    pub fn json(&self, request_id: &str) -> String {
        super::json(&Body {
            code: self.code,
            message: &self.message,
            request_id,
        })
    }
}
