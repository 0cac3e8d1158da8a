//! Parses and checks a request, in the order of the service's checks.

use bytes::Bytes;
use http::HeaderMap;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::refusal::Refusal;
use super::usage;

/// Largest body without Base64 content, in bytes.
const BODY_LIMIT: usize = 16 << 20;

/// Largest body with Base64 content, in bytes. More is never read.
pub(super) const BASE64_BODY_LIMIT: usize = 64 << 20;

/// A valid call.
#[derive(Debug)]
pub(super) struct Call {
    pub app_id: String,
    /// The prompt, or the last user message of `messages`.
    pub prompt: String,
    /// `None` if the request has `messages`.
    pub session_id: Option<String>,
    pub user: User,
    pub incremental: bool,
    pub has_thoughts: bool,
    pub message_format: bool,
    pub input_tokens: usize,
}

/// The user in `biz_params.user_prompt_params`.
#[derive(Debug, Default)]
pub(super) struct User {
    pub nickname: String,
    pub role: String,
}

/// The decoded `{app_id}` of `/api/v1/apps/{app_id}/completion`. `None` for any other path.
pub(super) fn app_id(path: &str) -> Option<String> {
    let encoded = path
        .strip_prefix("/api/v1/apps/")?
        .strip_suffix("/completion")?;
    Some(percent_decode_str(encoded).decode_utf8_lossy().into_owned())
}

/// True if the headers request SSE. The body does not matter.
pub(super) fn wants_stream(headers: &HeaderMap) -> bool {
    let header = |name| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    header("x-dashscope-sse").eq_ignore_ascii_case("enable")
        || header("accept").contains("text/event-stream")
}

/// Checks the headers. Any API key with the right prefix is accepted, unless `only_key` is set.
pub(super) fn check_headers(headers: &HeaderMap, only_key: Option<&str>) -> Result<(), Refusal> {
    let key = headers
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    let key = key
        .and_then(|value| value.strip_prefix("Bearer "))
        .unwrap_or_default();
    if !key.starts_with("sk-") || only_key.is_some_and(|only| only != key) {
        return Err(Refusal::invalid_api_key());
    }
    if headers.contains_key("x-dashscope-async") {
        let message = "Current user api does not support asynchronous calls.";
        return Err(Refusal::new(403, "AccessDenied", message));
    }
    match headers.get("x-dashscope-workspace") {
        Some(workspace) if !is_workspace(workspace.as_bytes()) => {
            Err(Refusal::invalid("The workspace id is malformed."))
        }
        _ => Ok(()),
    }
}

/// `^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`
fn is_workspace(id: &[u8]) -> bool {
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    id.len() <= 64 && id.first().is_some_and(u8::is_ascii_alphanumeric) && id.iter().all(inner)
}

/// Parses the body. Unknown keys are allowed.
pub(super) fn parse_body(bytes: &Bytes) -> Result<Value, Refusal> {
    if bytes.len() > BODY_LIMIT && !bytes.windows(8).any(|window| window == b";base64,") {
        return Err(Refusal::too_large());
    }
    serde_json::from_slice(bytes).map_err(|_| {
        Refusal::new(
            400,
            "BadRequest.IllegalInput",
            "The request body is not valid JSON.",
        )
    })
}

impl Call {
    pub fn new(app_id: &str, body: &Value) -> Result<Self, Refusal> {
        let (input, parameters) = (&body["input"], &body["parameters"]);
        let messages = input["messages"].as_array();
        let prompt = match (&input["prompt"], messages) {
            (Value::String(prompt), _) if !prompt.is_empty() => prompt.clone(),
            (Value::Null | Value::String(_), Some(messages)) => last_user_message(messages),
            _ => String::new(),
        };
        if prompt.is_empty() {
            return Err(Refusal::prompt_missing());
        }
        let user = &input["biz_params"]["user_prompt_params"];
        let flow = parameters["flow_stream_mode"].as_str();
        let read = match messages {
            Some(messages) => messages
                .iter()
                .map(|message| text_of(&message["content"]))
                .collect(),
            None => prompt.clone(),
        };
        Ok(Self {
            app_id: app_id.to_owned(),
            session_id: match messages {
                None => input["session_id"]
                    .as_str()
                    .filter(|id| !id.is_empty())
                    .map(str::to_owned),
                Some(_) => None,
            },
            user: User {
                nickname: text_of(&user["Nickname"]),
                role: text_of(&user["Role"]),
            },
            incremental: parameters["incremental_output"] == true,
            has_thoughts: parameters["has_thoughts"] == true,
            message_format: matches!(flow, Some("message_format" | "message_format_plus")),
            input_tokens: usage::count_input(&read),
            prompt,
        })
    }
}

fn last_user_message(messages: &[Value]) -> String {
    let last = messages.iter().rfind(|message| message["role"] == "user");
    last.map(|message| text_of(&message["content"]))
        .unwrap_or_default()
}

/// The text of a string, or of a list of content parts.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .filter_map(|part| part["text"].as_str())
            .collect(),
        _ => String::new(),
    }
}
