//! Answers that were recorded, byte for byte.

use bytes::Bytes;
use http::StatusCode;

use super::frames::Style;

/// Every recording by its name.
const RECORDINGS: &[(&str, &str)] = &[
    (
        "cumulative-though-incremental",
        include_str!("recordings/cumulative-though-incremental.sse"),
    ),
    ("length-limit", include_str!("recordings/length-limit.sse")),
    ("references", include_str!("recordings/references.sse")),
    (
        "refusal-long-code",
        include_str!("recordings/refusal-long-code.json"),
    ),
    (
        "surrogates-split",
        include_str!("recordings/surrogates-split.sse"),
    ),
    ("thinking", include_str!("recordings/thinking.sse")),
    (
        "workflow-pieces-then-whole",
        include_str!("recordings/workflow-pieces-then-whole.sse"),
    ),
    (
        "workflow-start-node",
        include_str!("recordings/workflow-start-node.sse"),
    ),
];

/// A recorded answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recording {
    text: &'static str,
    /// An error is the first frame of a stream, instead of a response with an error status.
    framed: bool,
}

impl Recording {
    /// Parses `NAME` or `NAME:framed`.
    pub(super) fn parse(parameter: &str) -> Option<Self> {
        let (name, framed) = match parameter.strip_suffix(":framed") {
            Some(name) => (name, true),
            None => (parameter, false),
        };
        let (_, text) = RECORDINGS.iter().find(|(known, _)| *known == name)?;
        Some(Self { text, framed })
    }

    /// True if it is an error with HTTP 400, and JSON instead of a stream.
    fn is_error(self) -> bool {
        self.text.starts_with('{')
    }

    pub(super) fn status(self) -> StatusCode {
        if self.is_error() && !self.framed {
            StatusCode::BAD_REQUEST
        } else {
            StatusCode::OK
        }
    }

    pub(super) fn is_stream(self) -> bool {
        !self.is_error() || self.framed
    }

    pub(super) fn body(self) -> Bytes {
        if self.is_error() && self.framed {
            Style::default().frame(1, "error", 400, self.text)
        } else {
            Bytes::from_static(self.text.as_bytes())
        }
    }
}
