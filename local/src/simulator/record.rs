//! Recorded calls, for tests.

use std::collections::VecDeque;

use http::HeaderMap;
use serde_json::Value;

/// A call of the completion endpoint, including refused ones.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "plain data")]
pub struct RecordedCall {
    /// From the path, decoded.
    pub app_id: String,
    pub headers: HeaderMap,
    /// Null if the body was not JSON.
    pub body: Value,
    /// True if the headers requested a stream.
    pub stream: bool,
}

impl RecordedCall {
    /// `input.prompt`, or an empty string.
    pub fn prompt(&self) -> &str {
        self.body["input"]["prompt"].as_str().unwrap_or_default()
    }

    /// `input.session_id`.
    pub fn session_id(&self) -> Option<&str> {
        self.body["input"]["session_id"].as_str()
    }

    /// The value of a header, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// The last calls, oldest first.
pub(super) struct Records {
    calls: VecDeque<RecordedCall>,
    keep: usize,
}

impl Records {
    pub fn new(keep: usize) -> Self {
        Self {
            calls: VecDeque::new(),
            keep,
        }
    }

    pub fn keeps_any(&self) -> bool {
        self.keep > 0
    }

    pub fn push(&mut self, call: RecordedCall) {
        if self.calls.len() == self.keep {
            self.calls.pop_front();
        }
        if self.keeps_any() {
            self.calls.push_back(call);
        }
    }

    pub fn all(&self) -> Vec<RecordedCall> {
        self.calls.iter().cloned().collect()
    }
}
