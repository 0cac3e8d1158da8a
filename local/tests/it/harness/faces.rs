//! Checks the error responses of each API. The path decides the names of the fields and the
//! language.

use reqwest::header::HeaderMap;
use serde_json::Value;

/// Status and code of every documented error. `internal` is missing because it indicates a bug.
pub const DOCUMENTED: [(u16, &str); 19] = [
    (400, "invalid_json"),
    (400, "invalid_request"),
    (401, "unauthorized"),
    (403, "forbidden"),
    (403, "not_approved"),
    (403, "not_owner"),
    (404, "not_found"),
    (405, "method_not_allowed"),
    (409, "busy"),
    (409, "conflict"),
    (410, "gone"),
    (413, "payload_too_large"),
    (415, "unsupported_media_type"),
    (422, "invalid_request"),
    (429, "budget_exceeded"),
    (429, "quota_exceeded"),
    (429, "rate_limited"),
    (503, "circuit_open"),
    (503, "unavailable"),
];

/// Texts that no error response may contain: SQL, source files, paths, names of libraries.
const SECRETS: [&str; 14] = [
    "select ",
    "insert ",
    "update ",
    "biz.",
    "ai_messages",
    "constraint",
    "sqlx",
    "postgres",
    "serde",
    "panicked",
    "src/",
    ".rs",
    "/root",
    "/home",
];

/// Checks the fields, the language and the request id, and that the response reveals no internals.
#[track_caller]
pub fn check(path: &str, headers: &HeaderMap, body: &Value) {
    let below = |prefix: &str| {
        path.strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
    };
    let (sentence, other_sentence, id, other_id, chinese) = if below("/api/xcx") {
        ("detail", "error", "requestId", "request_id", true)
    } else if below("/api/chat") {
        ("error", "detail", "request_id", "requestId", false)
    } else {
        ("detail", "error", "request_id", "requestId", true)
    };
    let text = body[sentence].as_str().unwrap_or_default();
    assert!(
        !text.is_empty() && text.is_ascii() != chinese,
        "{path}: {body}"
    );
    assert!(
        body[other_sentence].is_null() && body[other_id].is_null(),
        "{path}: {body}"
    );
    assert_eq!(
        body[id].as_str(),
        headers["x-request-id"].to_str().ok(),
        "{path}"
    );
    assert_eq!(headers["content-type"], "application/json", "{path}");
    if body["code"] == "unauthorized" {
        // API Gateway renames the header.
        let challenge = ["www-authenticate", "x-amzn-remapped-www-authenticate"];
        let challenge = challenge.iter().find_map(|name| headers.get(*name));
        assert_eq!(challenge.unwrap(), "Bearer", "{path}");
    }
    let text = body.to_string().to_lowercase();
    for secret in SECRETS {
        assert!(!text.contains(secret), "{path} reveals {secret:?}: {body}");
    }
}
